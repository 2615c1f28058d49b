"""One key-value cache for requests of different lengths: every row ends at the same column, so a step appends one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from hone.engines.cache import RoomyLayer

GROWTH = 256
"""Columns added at once, at the least."""


class Columns:
    """Which columns are in use, the same for all layers: row i stands in columns [starts[i], end)."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.end = 0

    @property
    def first(self) -> int:
        """The column where the longest row begins."""
        return min(self.starts, default=self.end)


class JointLayer(DynamicLayer):
    """Keys and values of all rows in buffers of shape [rows, heads, columns, width]; made when the first row joins."""

    def __init__(self, columns: Columns, example: RoomyLayer) -> None:
        super().__init__()
        self.columns = columns
        self.buffers = [one.new_empty(0, one.shape[1], 0, one.shape[3]) for one in (example.keys, example.values)]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """One more column; returns all columns that any row uses, with those of shorter rows to be masked."""
        first, end, rows = self.columns.first, self.columns.end, len(key_states)
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:rows, :, end : end + 1] = states
        self.keys, self.values = (buffer[:rows, :, first : end + 1] for buffer in self.buffers)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Columns in use before this step."""
        return self.columns.end - self.columns.first

    def put(self, row: int, source: RoomyLayer, end: int) -> None:
        """Write a row that was computed alone, so that it ends at column `end`."""
        for buffer, states in zip(self.buffers, (source.keys, source.values), strict=True):
            buffer[row, :, end - states.shape[2] : end] = states[0]

    def move(self, source: int, row: int) -> None:
        """The last row takes the place of one that left."""
        used = slice(self.columns.starts[source], self.columns.end)
        for buffer in self.buffers:
            buffer[row, :, used] = buffer[source, :, used]

    def resize(self, rows: int, columns: int, shift: int) -> None:
        """Buffers of another size, everything in use moved by so many columns."""
        first, end, kept = self.columns.first, self.columns.end, len(self.columns.starts)
        for place, old in enumerate(self.buffers):
            new = old.new_zeros(rows, old.shape[1], columns, old.shape[3])  # what is masked must still be a number
            new[:kept, :, first + shift : end + shift] = old[:kept, :, first:end]
            self.buffers[place] = new
        self.keys = self.values = None  # views of the buffers before


class JointCache:
    """Rows join with a cache of their own and leave again; `cache` is what the model is given for a step of all."""

    def __init__(self, example: DynamicCache) -> None:
        self.columns = Columns()
        self.layers = [JointLayer(self.columns, layer) for layer in example.layers]
        self.cache = DynamicCache()
        self.cache.layers = self.layers
        self.cache.layer_class_to_replicate = None
        self.rows, self.width = 0, 0

    def join(self, source: DynamicCache) -> None:
        """Add a row at the end."""
        length = source.layers[0].get_seq_length()
        if not self.columns.starts:
            self.columns.end = length
        self._make_room(len(self.columns.starts) + 1, length)
        for layer, own in zip(self.layers, source.layers, strict=True):
            layer.put(len(self.columns.starts), own, self.columns.end)
        self.columns.starts.append(self.columns.end - length)

    def leave(self, row: int) -> None:
        """Take a row out; the last one takes its place."""
        last = len(self.columns.starts) - 1
        if row < last:
            for layer in self.layers:
                layer.move(last, row)
            self.columns.starts[row] = self.columns.starts[last]
        self.columns.starts.pop()
        if not self.columns.starts:  # the buffers of a crowd are not kept for nobody
            self._resize(0, 0, 0)

    def mask(self) -> Tensor | None:
        """Which columns each row may see in the next step, its new one included; None where all see all."""
        first, end = self.columns.first, self.columns.end
        if all(start == first for start in self.columns.starts):
            return None
        return torch.arange(first, end + 1)[None] >= torch.tensor(self.columns.starts)[:, None]

    def lengths(self) -> list[int]:
        """Tokens of each row so far."""
        return [self.columns.end - start for start in self.columns.starts]

    def before_step(self) -> None:
        """Room for one more column."""
        self._make_room(len(self.columns.starts), 0)

    def after_step(self) -> None:
        """The column that was written belongs to the rows now."""
        self.columns.end += 1

    def _make_room(self, rows: int, left: int) -> None:
        """Rows enough, a free column at the end, and `left` columns before it: else other buffers, the rows moved
        left as far as they go, and no more of them than are in use now, to the next power of two."""
        first, end = self.columns.first, self.columns.end
        if rows <= self.rows and end < self.width and left <= end:
            return
        used = max(left, end - first)
        self._resize(1 << (rows - 1).bit_length(), used + max(GROWTH, used // 2), used - end)

    def _resize(self, rows: int, columns: int, shift: int) -> None:
        for layer in self.layers:
            layer.resize(rows, columns, shift)
        if not self.columns.starts and not rows:
            self.columns.end, shift = 0, 0
        self.columns.starts = [start + shift for start in self.columns.starts]
        self.columns.end += shift
        self.rows, self.width = rows, columns
