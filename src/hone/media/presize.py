"""The size that a picture is given before a model family's own processor sees it: within two bounds of area."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from hone.errors import DataError

Size = tuple[int, int]
"""Width and height, in pixels."""
LEAST_SIDE = 28
"""Pixels that a side has at least in the families of Qwen2-VL, and"""
STRETCHED, STRETCHED_TO = 200, 180
"""the ratio of the sides from which a picture is cut to a lesser one."""


def presized(size: Size, *, max_pixels: int, min_pixels: int, rule: str = "generic") -> Size:
    """Down to `max_pixels`, up to `min_pixels`, the ratio of the sides kept; then by the family's own rule.

    DataError (IMAGE-SIZE) where a side would be less than a pixel.
    """
    width, height = _scaled(size, max_pixels) if size[0] * size[1] > max_pixels else size
    if width < 1 or height < 1:
        what = f"a picture of {size[0]} x {size[1]} pixels has no side left within {max_pixels:,} pixels"
        raise DataError.one("IMAGE-SIZE", what, "image_max_pixels", "raise it, or leave the picture out")
    if width * height < min_pixels:
        width, height = _scaled((width, height), min_pixels)
    return RULES[rule]((width, height))


def _scaled(size: Size, pixels: int) -> Size:
    factor = math.sqrt(pixels / (size[0] * size[1]))
    return int(size[0] * factor), int(size[1] * factor)


def _as_it_is(size: Size) -> Size:
    return size


def _not_too_thin(size: Size) -> Size:
    width, height = (max(side, LEAST_SIDE) for side in size)
    if width > STRETCHED * height:
        width = STRETCHED_TO * height
    if height > STRETCHED * width:
        height = STRETCHED_TO * width
    return width, height


RULES: Mapping[str, Callable[[Size], Size]] = {"generic": _as_it_is, "qwen2_vl": _not_too_thin}
