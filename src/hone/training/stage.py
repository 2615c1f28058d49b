"""What the trainer asks of a stage: a batch from examples, how much it weighs, and its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hone.dialogue.example import Example

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class StageLoss:
    """The losses of one batch, summed (a scalar with grad), and the number of items they are the losses of.

    `sums` holds further measures as (sum, count): what is shown is all sums over all counts.
    """

    total: Tensor
    count: int
    sums: Mapping[str, tuple[Tensor | float, int]] = field(default_factory=dict)


class StageLearning(Protocol):
    """A stage as the trainer sees it. Picklable, so that loader processes can collate."""

    name: str
    measures: tuple[str, ...]
    """What an evaluation measures beside the loss."""
    curves: tuple[str, ...]
    """Which measures of training steps are worth a curve."""
    adds_up: bool
    """Whether the loss of a micro-batch is the sum of those of its rows, each computed alone."""
    reads_logits: bool
    """Whether the loss is made of logits at labels."""

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Examples as the tensors of one micro-batch."""
        ...

    def weight(self, batch: Batch) -> Tensor:
        """How many items the loss of this batch is a sum over, as an int64 scalar; known before the loss is."""
        ...

    def cut(self, batch: Batch) -> Sequence[Batch]:
        """The batch cut in two whose losses add up to its own; nothing where it cannot be cut."""
        ...

    def loss(self, model: nn.Module, batch: Batch) -> StageLoss:
        """The summed loss of the batch. Measures that cost something are made only when the model is not training."""
        ...

    def summary(self, metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
        """Measures that follow from others (`{prefix}_loss` …), under their full names; of training steps the prefix
        is empty."""
        ...

    def keep(self, folder: Path) -> None:
        """Write what the stage itself must go on from, beside the weights."""
        ...

    def take_up(self, model: nn.Module, folder: Path) -> None:
        """Go on from `folder`, whose weights are in the model already."""
        ...
