"""One cache of many rows: what each has read stays, and a crowd that is gone leaves no width behind."""

from __future__ import annotations

import torch
from transformers import DynamicCache

from hone.engines.joint import JointCache


def read(length: int, mark: float) -> DynamicCache:
    """A row of its own that has read so many tokens."""
    cache = DynamicCache()
    cache.update(torch.full((1, 2, length, 3), mark), torch.full((1, 2, length, 3), -mark), 0)
    return cache


def size(cache: JointCache) -> int:
    return cache.rows * cache.width


def test_a_long_row_after_a_crowd_of_short_ones_is_not_as_wide_for_each() -> None:
    cache = JointCache(read(1, 0))
    for number in range(16):
        cache.join(read(20, number + 1))
    for _ in range(15):
        cache.leave(0)
    cache.join(read(4000, 99))
    assert cache.lengths() == [20, 4000]
    assert size(cache) <= 2 * 6000
    keys, values = cache.layers[0].buffers
    for row, (start, mark) in enumerate(zip(cache.columns.starts, (2, 99), strict=True)):
        used = slice(start, cache.columns.end)
        assert (keys[row, :, used] == mark).all()
        assert (values[row, :, used] == -mark).all()
