"""What a run carries over a break beside the library's state: sums not yet logged, and an evaluation not yet made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = "progress.json"


@dataclass(frozen=True)
class Carried:
    """`loss_sum` and `measures` since the log of step `logged_at`; whether the evaluation of this step is to come."""

    loss_sum: float = 0.0
    logged_at: int = 0
    measures: dict[str, tuple[float, int]] = field(default_factory=dict)
    evaluation_due: bool = False

    def write(self, folder: Path) -> None:
        """Into a checkpoint that is being made; floats keep all their digits."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")


def read(folder: Path) -> Carried | None:
    """What the checkpoint carries; None where it has no such file."""
    try:
        found = json.loads((folder / FILE).read_text("utf-8"))
        measures = {name: (float(value), int(count)) for name, (value, count) in found["measures"].items()}
        return Carried(float(found["loss_sum"]), int(found["logged_at"]), measures, bool(found["evaluation_due"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
