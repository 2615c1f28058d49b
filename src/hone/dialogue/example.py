"""An encoded record: token ids, which of them are learned, and the media that some of them stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hone.dialogue.message import Media

IGNORED = -100
"""The label of a token that is not learned (the field's convention)."""

TokenIds = NDArray[np.int32]


@dataclass(frozen=True)
class Example:
    """`input_ids` and `labels`, both int32 of shape [length]; a label stands at its own token's place.

    The loss shifts the labels. A packed example holds several: `lengths` says how long each is, and sums to the whole.
    `media` are those that tokens stand for, in the order of the tokens: where they lie, no pixels.
    """

    input_ids: TokenIds
    labels: TokenIds
    lengths: tuple[int, ...] = ()
    media: tuple[Media, ...] = ()

    def __post_init__(self) -> None:
        if not self.lengths:
            object.__setattr__(self, "lengths", (len(self.input_ids),))

    @property
    def learned(self) -> int:
        """How many tokens carry a label that a model can be asked for (the first of each segment cannot)."""
        return int(learned([self])[0])

    def __eq__(self, other: Any) -> bool:
        return (
            isinstance(other, Example)
            and self.lengths == other.lengths
            and self.media == other.media
            and np.array_equal(self.input_ids, other.input_ids)
            and np.array_equal(self.labels, other.labels)
        )


def learned(examples: Sequence[Example]) -> NDArray[np.int32]:
    """`Example.learned` of each, int32 [n]: counted in one go, which many small arrays are not worth one by one."""
    if not examples:
        return np.empty(0, dtype=np.int32)
    counted = np.concatenate([example.labels for example in examples]) != IGNORED
    segments = np.cumsum([0, *(length for example in examples for length in example.lengths)])
    counted[segments[segments < len(counted)]] = False
    ends = np.cumsum([0, *(len(example.labels) for example in examples)])
    return np.diff(np.concatenate([[0], np.cumsum(counted)])[ends]).astype(np.int32)
