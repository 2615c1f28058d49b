"""What a stage answers unless it says otherwise: nothing to load beside the model, nothing to keep, no more to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hone.stages.shared.reference import Materials
from hone.training.stage import Batch


class PlainStage:
    """A stage without a reference, without a state of its own, and without measures beside its loss."""

    measures: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    """Measures of training steps that are worth a curve."""
    parts: tuple[str, ...] = ("",)
    """What the segments of an example are called when one is shown."""
    guessable = False
    """Whether the loss is the plain cross-entropy of tokens, which may be compared with that of guessing."""
    adds_up = True
    """Whether the loss of a micro-batch is the sum of those of its rows, each computed alone."""
    reads_logits = True
    """Whether the loss is made of logits at labels."""
    compares = False
    """Whether the loss needs a reference: the model with its adapters off, or a second one."""

    sees = False
    """Whether its rows may have pictures."""
    blind = ""
    """Why they may not, where that will stay so."""
    viewer: Any = None
    """What decodes them when a batch is made (`hone.media.viewer`)."""

    def equip(self, model: Any, materials: Materials) -> None:
        """Make ready what the loss needs beside the model, which has its tuner attached and is not yet made fast."""

    def cut(self, batch: Batch) -> Sequence[Batch]:
        """A batch cannot be cut in two, unless a stage knows how its loss stays the same."""
        return ()

    def keep(self, folder: Path) -> None:
        """Write what a run must go on from, beside the weights of a checkpoint."""

    def take_up(self, model: Any, folder: Path) -> None:
        """Go on from what `keep` wrote, and from what was saved with the weights."""

    def summary(self, metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
        """Nothing follows from other measures."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Loader processes collate; they need no second model."""
        return {name: value for name, value in self.__dict__.items() if name != "reference"}
