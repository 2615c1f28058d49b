"""Positions of tokens where pictures stand among text: by time, row and column (M-RoPE, Qwen2-VL, arXiv:2409.12191)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Sight(NamedTuple):
    """A picture's grid of tokens, row by row, from token `start` of its segment on."""

    start: int
    rows: int
    columns: int

    @property
    def stop(self) -> int:
        """The token behind it."""
        return self.start + self.rows * self.columns


def grid_places(length: int, sights: Sequence[Sight]) -> NDArray[np.int64]:
    """Time, row and column [3, length] of a segment's tokens: text counts on in all three; of a picture all tokens
    have one time, and what follows goes on behind its longer side."""
    places = np.empty((3, length), dtype=np.int64)
    token = place = 0
    for sight in sights:
        place = _text(places, token, sight.start, place)
        rows, columns = np.divmod(np.arange(sight.rows * sight.columns), sight.columns)
        places[:, sight.start : sight.stop] = place + np.stack([np.zeros_like(rows), rows, columns])
        token, place = sight.stop, place + max(sight.rows, sight.columns)
    _text(places, token, length, place)
    return places


def _text(places: NDArray[np.int64], start: int, stop: int, place: int) -> int:
    places[:, start:stop] = place + np.arange(stop - start)
    return place + stop - start
