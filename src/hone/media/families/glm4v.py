"""GLM-4V: the grid of Qwen2-VL, its bounds reckoned as if a picture were two frames."""

from __future__ import annotations

from hone.media.expand import Grounds, Picture, Span
from hone.media.families._grid import RULE, bounds_of

BEGIN, END = "<|begin_of_image|>", "<|end_of_image|>"


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """The grid of one picture."""
    if not grounds.whole:
        return [Span(BEGIN), grounds.seen("image", 1), Span(END)]
    bounds, frames = bounds_of(grounds), int(grounds.number("temporal_patch_size", 2))
    width, height = grounds.sized(picture, rule=RULE)
    if min(width, height) < bounds.factor:
        share = max(bounds.factor / width, bounds.factor / height)
        width, height = int(width * share), int(height * share)
    size = bounds.fitted((width, height), frames=frames, times=frames)
    return [Span(BEGIN), grounds.seen("image", bounds.cells(size)), Span(END)]
