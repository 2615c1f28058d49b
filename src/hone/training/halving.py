"""Too little memory for a micro-batch: it is cut in halves and done again, with the same loss and the same gradient."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from hone.log import warn
from hone.training.checkpoints.randomness import Moment
from hone.training.stage import Batch

if TYPE_CHECKING:
    from torch import Tensor


class Halving:
    """Does the micro-batches of one optimizer step, each whole or, where memory does not suffice, in halves.

    The step's loss is a sum over items divided by their number, so that cutting changes nothing but rounding, and
    the effective batch is kept. `halves` cuts a batch (nothing: it cannot be cut); `clear` empties the gradients.
    """

    def __init__(self, *, halves: Callable[[Batch], Sequence[Batch]], clear: Callable[[], None], alone: bool) -> None:
        self.halves, self.clear, self.alone = halves, clear, alone
        self.largest: int | None = None
        """Tokens of the smallest batch that was too large."""
        self.backward_began = False
        """Set by the trainer when a forward is done: from there on the gradients may hold a part of a batch."""
        self.done: list[Batch] = []
        """The micro-batches of this optimizer step so far."""
        self.repeats = False
        """Whether what is done now was done, and counted, before."""
        self._moment: Moment | None = None
        self._told = False

    def next_step(self) -> None:
        """The optimizer has stepped."""
        self.done, self._moment = [], None

    def __call__(self, batch: Batch, work: Callable[[Batch], Tensor]) -> Tensor:
        """The loss of the batch, its gradient added to the others. `work` does one forward and backward."""
        if self._moment is None:
            self._moment = Moment()
        loss = self._do(batch, work)
        self.done.append(batch)
        return loss

    def _do(self, batch: Batch, work: Callable[[Batch], Tensor]) -> Tensor:
        pieces = self.halves(batch) if self.largest is not None and _tokens(batch) >= self.largest else ()
        if len(pieces) > 1:
            return self._sum(pieces, work)
        moment = Moment()
        self.backward_began = False
        try:
            return work(batch)
        except torch.OutOfMemoryError as reason:
            pieces = self.halves(batch) if self.alone else ()
            if len(pieces) < 2:
                raise
            traceback.clear_frames(reason.__traceback__)
        self._make_room()
        self._tell(batch)
        self.largest = min(self.largest or _tokens(batch), _tokens(batch))
        if self.backward_began:
            self._again(work)
        else:
            moment.back()
        return self._sum(pieces, work)

    def _again(self, work: Callable[[Batch], Tensor]) -> None:
        """A backward that broke off has left a part of its gradient: do the step's earlier micro-batches anew."""
        self.clear()
        if self._moment is not None:
            self._moment.back()
        self.repeats = True
        for earlier in self.done:
            self._do(earlier, work)
        self.repeats = False

    def _sum(self, pieces: Sequence[Batch], work: Callable[[Batch], Tensor]) -> Tensor:
        return torch.stack([self._do(piece, work).detach() for piece in pieces]).sum()

    def _make_room(self) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tell(self, batch: Batch) -> None:
        if not self._told:
            warn(
                f"MEMORY: too little for a micro-batch of {_tokens(batch):,} tokens; it is cut in halves, and so is"
                " each other of that size. The loss and the effective batch stay the same; dropout draws otherwise"
            )
        self._told = True


def _tokens(batch: Batch) -> int:
    return sum(value.numel() for key, value in batch.items() if key.endswith("input_ids"))
