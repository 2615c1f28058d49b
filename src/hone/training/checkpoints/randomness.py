"""The state of all random generators, as plain numbers and tensors: nothing that a loader would have to trust."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

FILE = "rng_state.pth"


def state(*, every_device: bool) -> dict[str, Any]:
    """Python's, NumPy's, torch's, and the GPUs' (of `every_device`, or of this process's own)."""
    kind, key, place, has_gauss, gauss = np.random.get_state()
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, [int(number) for number in key], int(place), int(has_gauss), float(gauss)),  # type: ignore[union-attr]
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        one = torch.cuda.random
        found["cuda"] = one.get_rng_state_all() if every_device else one.get_rng_state()
    return found


def write(folder: Path, *, process: int, processes: int) -> None:
    """Under the library's names: `rng_state.pth`, or one file a process."""
    name = FILE if processes <= 1 else f"rng_state_{process}.pth"
    torch.save(state(every_device=processes > 1), folder / name)


class Moment:
    """The generators that torch draws from as they stand now, to be put back."""

    def __init__(self) -> None:
        self.cpu = torch.random.get_rng_state()
        self.cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def back(self) -> None:
        """As they stood."""
        torch.random.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
