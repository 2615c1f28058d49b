"""The order of the examples: it follows from the seed and the epoch alone, so that it can be taken up again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler


class SeededOrder(Sampler[int]):
    """Every example once an epoch, in an order that neither the device, nor workers, nor an interruption changes."""

    def __init__(self, size: int, *, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.size)
        yield from order.tolist()


def in_reach(loader: Any) -> Any:
    """The loader, whose order hears of each epoch also in a resumed run of several processes: there accelerate wraps
    what makes batches once for the processes and once more to skip what was seen, and looks below the first only."""
    shared: Any = getattr(loader, "batch_sampler", None)
    whole: Any = getattr(shared, "batch_sampler", None)
    if whole is not None and not hasattr(shared, "sampler"):
        shared.sampler = whole.sampler
    return loader
