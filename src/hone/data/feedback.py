"""An answer that was liked or not, as an example: its segments, and how they are told apart again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hone.dialogue.example import Example

DISLIKED = 0
"""The length of the segment that follows an answer that was not liked. It holds nothing: an example's arrays are those
of any other stage, and packs of examples can be taken apart."""


@dataclass(frozen=True)
class Judged:
    """`answer` to a question, whether it was liked, and `other`: an answer to another question after the same one."""

    answer: Example
    other: Example
    good: bool


def marked(example: Example, *, good: bool) -> Example:
    """An example of two segments (the answer, the other answer), marked as liked or not."""
    return example if good else Example(example.input_ids, example.labels, (*example.lengths, DISLIKED))


def judged(example: Example) -> Iterator[Judged]:
    """The answers of an example, which may be a pack of several."""
    lengths, ends = example.lengths, np.cumsum((0, *example.lengths)).tolist()
    place = 0
    while place < len(lengths):
        answer, other = (_segment(example, ends[place + n], ends[place + n + 1]) for n in (0, 1))
        good = not (place + 2 < len(lengths) and lengths[place + 2] == DISLIKED)
        yield Judged(answer, other, good)
        place += 2 if good else 3


def _segment(example: Example, start: int, stop: int) -> Example:
    return Example(example.input_ids[start:stop], example.labels[start:stop])
