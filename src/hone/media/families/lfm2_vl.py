"""LFM2-VL: as many patches as the tower of SigLIP 2 may have, at the picture's own ratio, then fewer by a factor."""

from __future__ import annotations

import math

from hone.media.expand import Grounds, Picture, Span
from hone.media.presize import Size

NEARNESS = 1e-5


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """One token for each square of patches."""
    if not grounds.whole:
        return [grounds.seen("image", 1)]
    patch, most = int(grounds.number("patch_size")), int(grounds.number("max_num_patches"))
    columns, rows = grid(grounds.sized(picture), patch, most)
    fewer = int(grounds.number("downsample_factor", 1))
    return [grounds.seen("image", math.ceil(columns / fewer) * math.ceil(rows / fewer))]


def grid(size: Size, patch: int, most: int) -> tuple[int, int]:
    """Columns and rows of the largest grid of at most `most` patches; the scale is found by halving."""

    def at(scale: float) -> tuple[int, int]:
        width, height = (max(1, math.ceil(side * scale / patch)) for side in size)
        return width, height

    low, high = NEARNESS / 10, 100.0
    while high - low >= NEARNESS:
        middle = (low + high) / 2
        columns, rows = at(middle)
        low, high = (middle, high) if columns * rows <= most else (low, middle)
    return at(low)
