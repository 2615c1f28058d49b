"""An encoded record: token ids, which of them are learned, and the media that some of them stand for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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

    @cached_property
    def learned(self) -> int:
        """How many tokens carry a label that a model can be asked for (the first of each segment cannot)."""
        mask = self.labels != IGNORED
        if len(self.lengths) == 1:
            return int(np.count_nonzero(mask[1:]))
        starts = np.cumsum((0, *self.lengths[:-1]))
        return int(mask.sum() - mask[starts[starts < len(mask)]].sum())

    def __eq__(self, other: Any) -> bool:
        return (
            isinstance(other, Example)
            and self.lengths == other.lengths
            and self.media == other.media
            and np.array_equal(self.input_ids, other.input_ids)
            and np.array_equal(self.labels, other.labels)
        )
