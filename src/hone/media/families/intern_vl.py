"""InternVL: the same number of tokens for a picture and for each of its tiles, where it is cut into tiles."""

from __future__ import annotations

from dataclasses import replace

from hone.media.expand import Film, Grounds, Picture, Span
from hone.media.families._grid import shown
from hone.media.presize import Size

SEEN, BEGIN, END = "<IMG_CONTEXT>", "<img>", "</img>"
MOST = 1024 * 1024
"""Pixels of a picture where no limit is given: tiles bear more of them than one square does."""


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """Tokens of the tiles and of the whole, as one run."""
    each = int(grounds.number("image_seq_length", 256))
    times = each * tiles(_sized(picture, grounds), grounds) if grounds.whole else 1
    return [Span(BEGIN), Span(SEEN, times, sees=True), Span(END)]


def film(film: Film, grounds: Grounds) -> list[Span]:
    """A line for each frame, counted from 1."""
    each = int(grounds.number("image_seq_length", 256)) if grounds.whole else 1
    count = len(shown(film, grounds, even=False)) if grounds.whole else 1
    spans: list[Span] = []
    for place in range(count):
        spans += [Span(_head(place) + BEGIN), Span(SEEN, each, sees=True), Span(END)]
    return spans


def tiles(size: Size, grounds: Grounds) -> int:
    """How many squares are shown: one, or the tiles and the whole."""
    if not grounds.number("crop_to_patches", False):
        return 1
    least, most = int(grounds.number("min_patches", 1)), int(grounds.number("max_patches", 12))
    columns, rows = canvas(size, _side(grounds), least, most)
    return columns * rows + 1 if columns * rows > 1 else 1


def canvas(size: Size, tile: Size, least: int, most: int) -> tuple[int, int]:
    """Columns and rows nearest to the picture's ratio; of equals the larger, while it is not twice too large."""
    counts = range(1, most + 1)
    known = sorted(((c, r) for c in counts for r in counts if least <= c * r <= most), key=lambda one: one[0] * one[1])
    ratio, area = size[0] / size[1], size[0] * size[1]
    found, nearest = (1, 1), float("inf")
    for columns, rows in known:
        distance = abs(ratio - columns / rows)
        if distance < nearest or (distance == nearest and area > 0.5 * tile[0] * tile[1] * columns * rows):
            found, nearest = (columns, rows), distance
    return found


def _head(place: int) -> str:
    return f"Frame{place + 1}: " if not place else f"\nFrame{place + 1}: "


def _sized(picture: Picture, grounds: Grounds) -> Size:
    return replace(grounds, numbers={"image_max_pixels": MOST, **grounds.numbers}).sized(picture)


def _side(grounds: Grounds) -> Size:
    found = grounds.number("size", {"height": 448, "width": 448})
    return (found["width"], found["height"]) if isinstance(found, dict) else (found[1], found[0])
