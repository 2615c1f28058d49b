"""Experience of stages that generate: prompts of several steps answered at once, and learned from more than once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hone.training.stage import Batch

if TYPE_CHECKING:
    from torch import nn

Gather = Callable[[Sequence[Batch]], Sequence[Batch]]
"""Batches of prompts → as many batches of experience."""


@runtime_checkable
class Gathering(Protocol):
    """A stage that generates what it learns from; its batches from examples are prompts."""

    buffered: int
    """Optimizer steps whose prompts are answered at once."""
    passes: int
    """How often that is learned from."""

    def gather(self, model: nn.Module, batches: Sequence[Batch], *, seed: int) -> Sequence[Batch]:
        """Answers to the prompts of each batch, judged, as a batch to learn from. Called without grad."""
        ...


class Buffer:
    """Hands out the micro-batches of every optimizer step.

    At the first of `steps` * `passes` steps the prompts of `steps` steps are answered by the policy as it then is; the
    answers are learned from in `passes` rounds. Later rounds pass over their own prompts: so what a step learns from
    follows from its place in the epoch, and a run that is resumed at the first step of a buffer goes on as if never
    stopped. A new epoch (a new iterator), and any resumed run, begin with a new buffer.
    """

    def __init__(self, steps: int, passes: int) -> None:
        self.steps, self.passes = steps, passes
        self._reading: Iterator[Batch] | None = None
        self._held: list[list[Batch]] = []
        self._place = 0

    def __call__(self, prompts: Iterator[Batch], count: int, gather: Gather) -> list[Batch]:
        """The micro-batches of the next step, `count` of them while there are so many."""
        if prompts is not self._reading:
            self._reading, self._held, self._place = prompts, [], 0
        if self._place >= len(self._held) * self.passes:
            self._fill(prompts, count, gather)
        elif self._place >= len(self._held):
            _taken(prompts, count)
        if not self._held:
            return []
        found = self._held[self._place % len(self._held)]
        self._place += 1
        return found

    def _fill(self, prompts: Iterator[Batch], count: int, gather: Gather) -> None:
        taken = _taken(prompts, count * self.steps)
        made = list(gather(taken)) if taken else []
        self._held = [made[start : start + count] for start in range(0, len(made), count)]
        self._place = 0


def _taken(prompts: Iterator[Batch], count: int) -> list[Batch]:
    return list(itertools.islice(prompts, count))
