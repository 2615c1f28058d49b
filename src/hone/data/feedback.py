"""An answer that was liked or not, as an example: its segments, and how they are told apart again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hone.dialogue.example import Example

DISLIKED = 0
"""The length of the segment that follows an answer that was not liked. It holds nothing: an example's arrays are those
of any other stage, and packs of examples can be taken apart."""


@dataclass(frozen=True)
class Judged:
    """Which segment is the `answer` to a question, whether it was liked, and which is `other`: an answer to another
    question after the same one."""

    answer: int
    other: int
    good: bool


def marked(example: Example, *, good: bool) -> Example:
    """An example of two segments (the answer, the other answer), marked as liked or not."""
    return example if good else replace(example, lengths=(*example.lengths, DISLIKED))


def judged(lengths: Sequence[int]) -> Iterator[Judged]:
    """The answers of examples or packs of them, by the lengths of their segments."""
    place = 0
    while place < len(lengths):
        good = not (place + 2 < len(lengths) and lengths[place + 2] == DISLIKED)
        yield Judged(place, place + 1, good)
        place += 2 if good else 3
