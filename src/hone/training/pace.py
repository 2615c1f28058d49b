"""How fast a run goes: tokens that were really computed, and the time since it began."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Pace:
    """A counter that the trainer feeds and the watchers read. Batches hold no padding, so every token counts."""

    tokens: int = 0
    operations: float | Tensor = 0.0
    """Of forward and backward, as `training.utilisation` counts them; added up where the batches lie."""
    began: float = field(default_factory=time.monotonic)

    def restart(self) -> None:
        """Begin to count from here."""
        self.tokens, self.operations, self.began = 0, 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self.began

    @property
    def tokens_per_second(self) -> float:
        """Mean over the run so far, waiting included."""
        return self.tokens / max(self.seconds, 1e-9)

    def remaining(self, done: int, total: int) -> float:
        """Seconds still to go when `done` of `total` steps took the time so far; 0 before the first."""
        return self.seconds / done * max(total - done, 0) if done else 0.0


def clock(seconds: float) -> str:
    """`h:mm:ss`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}"
