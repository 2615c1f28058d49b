"""Qwen2-VL and Qwen2.5-VL: a token for each merged patch of the grid, pictures and films alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hone.media.expand import Film, Grounds, Picture, Span
from hone.media.families._grid import RULE as RULE
from hone.media.families._grid import bounds_of, shown, wrapped


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """The grid of one picture."""
    if not grounds.whole:
        return wrapped(grounds, [grounds.seen("image", 1)])
    bounds = bounds_of(grounds)
    cells = bounds.cells(bounds.fitted(grounds.sized(picture, rule=RULE)))
    return wrapped(grounds, [grounds.seen("image", cells)])


def counted(sizes: Sequence[Picture], features: Mapping[str, Any], grounds: Grounds) -> list[int]:
    """A token for each place of the grids that the processor made (time, rows and columns, of patches)."""
    if not sizes:
        return []
    merged = int(grounds.number("merge_size")) ** 2
    return [int(grid.prod()) // merged for grid in features["image_grid_thw"]]


def film(film: Film, grounds: Grounds) -> list[Span]:
    """The grid of one frame for each pair of frames (`temporal_patch_size`)."""
    if not grounds.whole:
        return wrapped(grounds, [grounds.seen("video", 1)])
    bounds = bounds_of(grounds, film=True)
    size = bounds.fitted(grounds.sized(film[:2], kind="video", rule=RULE))
    pairs = -(-len(shown(film, grounds)) // int(grounds.number("temporal_patch_size", 2)))
    return wrapped(grounds, [grounds.seen("video", bounds.cells(size) * pairs)])
