"""Keys and values of many requests: a slot for each, tokens from its left edge on; what was read is found again."""

from __future__ import annotations

from collections.abc import Sequence

import torch

GROWTH = 256
"""Columns added at once, at the least; all widths are multiples of it."""
WORTH = 8
"""A beginning shared with another request is copied from so many tokens on."""


class Slots:
    """One buffer for each layer, of shape [slots, columns, 2 * key heads, width]: keys, then values, of each token.

    The first `used` slots belong to requests under way. Those behind them still hold what was read there before, until
    they are taken: a prompt that begins the same, and has the same adapter, takes its keys and values from them.
    `room`: how many tokens all slots together should hold at most (None: any number). Where there would be more, slots
    are as wide as those under way need, and what others have left is forgotten.
    """

    def __init__(self, layers: int, shape: tuple[int, int], dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.room: int | None = None
        self.buffers = [torch.zeros(0, 0, *shape, dtype=dtype) for _ in range(layers)]
        self.ids: list[list[int]] = []
        """The tokens whose keys and values stand in each slot."""
        self.owners: list[int] = []
        """The number of the adapter that each slot was read with, 0 for none."""
        self.used = 0

    @property
    def columns(self) -> int:
        """How many tokens a slot holds now."""
        return self.buffers[0].shape[1]

    def take(self, prompt: Sequence[int], most: int, owner: int = 0) -> tuple[int, int]:
        """A slot for a prompt, and how many of its first tokens (at most `most`) need not be read any more."""
        self.make_room(self.used + 1, 0)
        read = zip(self.ids, self.owners, strict=True)
        lengths = [_shared(ids, prompt, most) if one == owner else 0 for ids, one in read]
        best = max(range(len(lengths)), key=lengths.__getitem__)
        kept = lengths[best] if lengths[best] >= WORTH else 0
        slot = self.used
        if kept and best > slot:
            self._exchange(best, slot)
        elif kept and best < slot:
            self._copy(best, slot, kept)
        self.ids[slot], self.owners[slot] = list(prompt[:kept]), owner
        self.used += 1
        return slot, kept

    def leave(self, slot: int) -> int:
        """A request ended; its slot is now behind those in use. Returns the slot whose request moved to `slot`."""
        self.used -= 1
        if slot != self.used:
            self._exchange(slot, self.used)
        return self.used

    def make_room(self, slots: int, columns: int) -> None:
        """At least so many slots and columns."""
        have, wide = len(self.ids), self.columns
        if slots <= have and columns <= wide:
            return
        rows, width = self._size(slots, columns)
        kept, shared = min(have, rows), min(wide, width)
        for place, old in enumerate(self.buffers):
            new = torch.zeros(rows, width, *self.shape, dtype=self.dtype)  # what is masked must still be a number
            new[:kept, :shared] = old[:kept, :shared]
            self.buffers[place] = new
        self.ids = [ids[:width] for ids in self.ids[:rows]] + [[] for _ in range(rows - kept)]
        self.owners = self.owners[:rows] + [0] * (rows - kept)

    def _size(self, slots: int, columns: int) -> tuple[int, int]:
        """Rows and width of new buffers: with something to spare, else without it, else as few as there must be."""
        have, wide = len(self.ids), self.columns
        rows = have if slots <= have else 1 << (slots - 1).bit_length()
        width = wide if columns <= wide else columns + columns // 4
        narrow = max(columns, *(len(self.ids[slot]) + 1 for slot in range(self.used)), 1)
        sizes = [(rows, _round(width)), (rows, _round(narrow)), (max(slots, self.used), _round(narrow))]
        return next((size for size in sizes if self.room is None or size[0] * size[1] <= self.room), sizes[-1])

    def clear(self) -> None:
        """Forget everything, the buffers too."""
        self.ids, self.owners, self.used = [], [], 0
        self.buffers = [buffer[:0, :0].clone() for buffer in self.buffers]

    def _copy(self, source: int, slot: int, length: int) -> None:
        for buffer in self.buffers:
            buffer[slot, :length] = buffer[source, :length]

    def _exchange(self, one: int, other: int) -> None:
        length = max(len(self.ids[one]), len(self.ids[other]))
        for buffer in self.buffers:
            kept = buffer[one, :length].clone()
            buffer[one, :length] = buffer[other, :length]
            buffer[other, :length] = kept
        self.ids[one], self.ids[other] = self.ids[other], self.ids[one]
        self.owners[one], self.owners[other] = self.owners[other], self.owners[one]


def _round(columns: int) -> int:
    return -(-columns // GROWTH) * GROWTH


def _shared(ids: Sequence[int], prompt: Sequence[int], most: int) -> int:
    """How many tokens both begin with, at most `most`."""
    limit = min(len(ids), len(prompt), most)
    return next((place for place in range(limit) if ids[place] != prompt[place]), limit)
