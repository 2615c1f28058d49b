"""The grid of patches of the Qwen-VL way: both sides multiples of a factor, the area within two bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hone.media.expand import Film, Grounds, Span
from hone.media.presize import Size

RULE = "qwen2_vl"


@dataclass(frozen=True)
class Bounds:
    """Multiples of `factor` whose area, times the frames that count towards it, lies between two bounds."""

    factor: int
    least: float
    most: float

    def fitted(self, size: Size, *, frames: int = 1, times: int = 1) -> Size:
        """Width and height; `times` is what the frames are reckoned as once they are whole pairs."""
        width, height = size
        sides = [round(side / self.factor) * self.factor for side in size]
        area = sides[0] * sides[1] * times
        if area > self.most:
            share = math.sqrt(frames * width * height / self.most)
            sides = [max(self.factor, math.floor(side / share / self.factor) * self.factor) for side in size]
        elif area < self.least:
            share = math.sqrt(self.least / (frames * width * height))
            sides = [math.ceil(side * share / self.factor) * self.factor for side in size]
        return sides[0], sides[1]

    def cells(self, size: Size) -> int:
        """Places of the grid, each one token."""
        return (size[0] // self.factor) * (size[1] // self.factor)


def bounds_of(grounds: Grounds, *, film: bool = False) -> Bounds:
    """The bounds for a picture, or for the frames of a film, as the processor has them."""
    factor = int(grounds.number("patch_size")) * int(grounds.number("merge_size"))
    size: Mapping[str, Any] = grounds.number("video_processor_pixels" if film else "size", {})
    least = size.get("shortest_edge") or grounds.number("min_pixels")
    most = size.get("longest_edge") or grounds.number("max_pixels")
    return Bounds(factor, least, most)


def shown(film: Film, grounds: Grounds, *, even: bool = True) -> list[int]:
    """The numbers of the frames that are shown: evenly spread, so many a second; an odd count shows the last twice."""
    rate, most = float(grounds.number("video_fps", 2.0)), int(grounds.number("video_maxlen", 128))
    wished = math.floor(film.frames / film.rate * rate) if film.rate else film.frames
    count = max(min(film.frames, most, wished), 1)
    step = (film.frames - 1) / (count - 1) if count > 1 else 0.0
    numbers = [int(place * step) for place in range(count - 1)] + [film.frames - 1 if count > 1 else 0]
    return [*numbers, numbers[-1]] if even and count % 2 else numbers


def wrapped(grounds: Grounds, spans: Sequence[Span]) -> list[Span]:
    """Spans between the family's words for the begin and end of what is seen."""
    begin = grounds.words.get("vision_bos", "<|vision_start|>")
    end = grounds.words.get("vision_eos", "<|vision_end|>")
    return [Span(begin), *spans, Span(end)]
