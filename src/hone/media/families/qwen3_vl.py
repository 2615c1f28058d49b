"""Qwen3-VL: pictures as in Qwen2-VL; of a film each pair of frames on its own, after the second at which it passes."""

from __future__ import annotations

from hone.media.expand import Film, Grounds, Span
from hone.media.families._grid import RULE as RULE
from hone.media.families._grid import bounds_of, shown, wrapped
from hone.media.families.qwen2_vl import counted as counted
from hone.media.families.qwen2_vl import picture as picture


def film(film: Film, grounds: Grounds) -> list[Span]:
    """Time and grid for each pair of frames; the bounds are of all frames together."""
    if not grounds.whole:
        return wrapped(grounds, [grounds.seen("video", 1)])
    bounds, pair = bounds_of(grounds, film=True), int(grounds.number("temporal_patch_size", 2))
    numbers = shown(film, grounds)
    count = len(numbers)
    size = bounds.fitted(
        grounds.sized(film[:2], kind="video", rule=RULE), frames=count, times=max(round(count / pair), 1) * pair
    )
    spans: list[Span] = []
    for place in range(0, count, pair):
        times = [number / film.rate for number in numbers[place : place + pair]]
        middle = (times[0] + times[-1]) / 2
        spans += [Span(f"<{middle:.1f} seconds>"), *wrapped(grounds, [grounds.seen("video", bounds.cells(size))])]
    return spans
