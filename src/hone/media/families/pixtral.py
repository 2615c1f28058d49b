"""Pixtral and Mistral Small: patches row by row, a break after each row and an end after the last."""

from __future__ import annotations

import math

from hone.media.expand import Grounds, Picture, Span


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """Rows of tokens; the longest side is brought below the processor's limit."""
    if not grounds.whole:
        return [grounds.seen("image", 1)]
    width, height = grounds.sized(picture)
    longest = grounds.number("longest_edge", grounds.number("size", {}).get("longest_edge"))
    share = max(width / longest, height / longest)
    if share > 1:
        width, height = math.floor(width / share), math.floor(height / share)
    inner = grounds.numbers.get("image_processor", {}).get("patch_size")
    patch = int(inner or grounds.number("patch_size") * grounds.number("spatial_merge_size", 1))
    rows, columns = max(-(-height // patch), 1), max(-(-width // patch), 1)
    stop = Span(grounds.number("image_break_token", "[IMG_BREAK]"))
    row = grounds.seen("image", columns)
    return [*[part for _ in range(rows - 1) for part in (row, stop)], row, Span(_end(grounds))]


def _end(grounds: Grounds) -> str:
    return str(grounds.number("image_end_token", "[IMG_END]"))
