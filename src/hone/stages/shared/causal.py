"""Next-token prediction, as `sft` and `pt` share it: the flattened batch, the number of labels, the cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from hone.data.batch import collate, cut
from hone.dialogue.example import IGNORED, Example
from hone.models.experts import balanced
from hone.models.heads import label_loss
from hone.models.pictures import anchored
from hone.stages.shared.plain import PlainStage
from hone.training.stage import Batch, StageLoss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hone.recipe import FinetuningSection


ITEMS = "label_tokens"
"""The key of a batch that holds how many of its tokens carry a label; not an argument of the model."""


class CausalStage(PlainStage):
    """Cross-entropy summed over label tokens.

    The first token of a segment is never predicted. Where it carries a label (plain text, `train_on_prompt`) it still
    counts as a label token when a training step's loss is divided, as in the recorded courses of the conformance
    corpus; the loss of an evaluation is the mean over what was predicted.
    """

    guessable = True

    def __init__(self, finetuning: FinetuningSection) -> None:
        self.compute_accuracy = finetuning.compute_accuracy

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """`input_ids`, `labels`, `position_ids` [1, T], `cu_seqlens` [S + 1] and the number of label tokens; with
        pictures what `hone.data.batch.collate` says."""
        items = sum(int((example.labels != IGNORED).sum()) for example in examples)
        return {**collate(examples, viewer=self.viewer if self.sees else None), ITEMS: torch.tensor(items)}

    def weight(self, batch: Batch) -> Tensor:
        """The label tokens of the batch."""
        items: Tensor = batch[ITEMS]
        return items

    def cut(self, batch: Batch) -> Sequence[Batch]:
        """Between two segments; the loss is a sum over tokens."""
        return cut(batch)

    def loss(self, model: nn.Module, batch: Batch) -> StageLoss:
        """The summed cross-entropy, in nats."""
        total, count = label_loss(model, for_model(batch))
        return StageLoss(anchored(model, balanced(model, total, count), batch), count)


def for_model(batch: Batch) -> dict[str, Any]:
    """The batch without what only the stage needs."""
    return {name: value for name, value in batch.items() if name != ITEMS}
