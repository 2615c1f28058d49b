"""The pictures of a prompt as a model is given them: beside the ids, once, when the prompt is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hone.models.pictures import COUNTS

PLACES = "position_ids"


@dataclass(frozen=True, eq=False)
class Seen:
    """`arguments`: what the model's forward takes beside the ids of a whole prompt of T tokens: `pixel_values` …, and
    where places are counted by grid `position_ids` [4, 1, T]. `shift`: how far the place of a token behind the prompt
    is from its number; a grid takes up fewer places than it has tokens (M-RoPE, arXiv:2409.12191)."""

    arguments: Mapping[str, Tensor]
    shift: int = 0

    @classmethod
    def of(cls, made: Mapping[str, Tensor]) -> Seen:
        """From what a viewer makes of one prompt and its pictures."""
        places = made.get(PLACES)
        shift = 0 if places is None else int(places[1:].max()) + 1 - places.shape[-1]
        return cls({name: value for name, value in made.items() if name != COUNTS}, shift)
