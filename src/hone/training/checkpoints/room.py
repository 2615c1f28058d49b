"""Whether the disk holds what a run will save: asked before its first step, not after hours of learning."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hone.errors import MachineError
from hone.log import warn

BESIDE = 20 << 20
"""Tokenizer, logs, curves and manifests, at most about this many bytes."""


@dataclass(frozen=True)
class Room:
    """Bytes on the disk: `weights` of one save, `optimizer` beside them in a checkpoint, `checkpoints` kept at once."""

    weights: int
    optimizer: int
    checkpoints: int

    @property
    def checkpoint(self) -> int:
        """One checkpoint."""
        return self.weights + self.optimizer

    @property
    def least(self) -> int:
        """Below this nothing that is worth the run can be saved: one checkpoint, or the final weights."""
        return self.checkpoint if self.checkpoints else self.weights

    @property
    def total(self) -> int:
        """Everything that will lie there at once."""
        return self.checkpoint * self.checkpoints + self.weights + BESIDE


def room_of(model: Any, arguments: Any, *, steps: int, limit: int | None, optimizer_bytes: int = 0) -> Room:
    """What a run of `steps` steps saves, at most `limit` checkpoints of it; `optimizer_bytes` is the optimizer's state
    for each number that learns (left out where it is not known, so that nothing is refused by guessing)."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    saved = learning if hasattr(model, "peft_config") else list(model.parameters())
    weights = sum(parameter.numel() * parameter.element_size() for parameter in saved)
    state = 0 if arguments.save_only_model else optimizer_bytes * sum(parameter.numel() for parameter in learning)
    return Room(weights, state, kept_at_once(arguments, steps, limit))


def kept_at_once(arguments: Any, steps: int, limit: int | None) -> int:
    """How many checkpoints lie on the disk at the same time; one more than the limit while the newest is written."""
    kind = getattr(arguments.save_strategy, "value", arguments.save_strategy)
    if kind == "no":
        return 0
    every = arguments.save_steps if kind == "steps" else max(steps // max(int(arguments.num_train_epochs), 1), 1)
    every = max(round(every if every >= 1 else every * steps), 1)
    made = max(-(-steps // every), 1)
    return made if not limit or limit < 1 else min(made, limit + 1)


def refuse_a_full_disk(folder: Path, room: Room) -> None:
    """MachineError when not even one save fits; a warning when not all of them do."""
    free = shutil.disk_usage(folder).free
    if free < room.least:
        raise MachineError.one(
            "DISK-ROOM", f"one save needs {in_units(room.least)}, {in_units(free)} are free", str(folder),
            "free some space, or choose another output_dir",
        )  # fmt: skip
    if free < room.total:
        warn(
            f"{folder} has {in_units(free)} free; all {room.checkpoints} checkpoints and the final weights need "
            f"{in_units(room.total)}: set save_total_limit or save_only_model"
        )


def in_units(size: float) -> str:
    """A number of bytes as people read it, as 1.5 GiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
