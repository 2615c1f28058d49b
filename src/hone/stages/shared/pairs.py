"""Pairs of answers, as `dpo` and `rm` share them: a better and a worse one, side by side in one flattened row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from hone.data.batch import collate, cut
from hone.data.encode import encode_pair
from hone.data.stage import Encoded, Limits
from hone.dialogue.example import Example
from hone.dialogue.records import Preference
from hone.stages.shared.plain import PlainStage
from hone.training.stage import Batch

if TYPE_CHECKING:
    from torch import Tensor


class PairStage(PlainStage):
    """A better and a worse answer to one question; a pack holds several such pairs. The loss is a sum over pairs."""

    record = Preference
    joining: Literal["fit", "stream"] = "fit"
    parts = ("chosen_", "rejected_")
    sees = True

    def encode(self, records: Sequence[Preference], encoder: Any, limits: Limits) -> list[Encoded]:
        """One pair as one example of two segments."""
        return encode_pair(records, encoder, limits)

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """`input_ids`, `labels`, `position_ids` [1, T] and `cu_seqlens` [2 pairs + 1]: better, worse, better …; with
        pictures what `hone.data.batch.collate` says."""
        return collate(examples, viewer=self.viewer)

    def cut(self, batch: Batch) -> Sequence[Batch]:
        """Between two pairs; the loss is a sum over pairs."""
        return cut(batch, together=2)

    def weight(self, batch: Batch) -> Tensor:
        """The number of pairs."""
        import torch

        return torch.tensor((len(batch["cu_seqlens"]) - 1) // 2)


def halves(values: Tensor) -> tuple[Tensor, Tensor]:
    """Of numbers by segment [2 pairs]: those of the better answers and those of the worse [pairs]."""
    return values[0::2], values[1::2]
