"""Preference losses, one file each, named as in `pref_loss`; the folder is the registry.

A file has `losses(pairs, strength) -> Tensor [pairs]`, says whether it takes means of log-probabilities (`AVERAGED`)
and whether it compares with a reference (`REFERENCE`), and may have `measures(pairs) -> name: Tensor [pairs]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from torch import Tensor

from hone.registry import find
from hone.training.losses.pairs import Pairs, Strength


class PreferenceLoss(Protocol):
    """One of the files."""

    AVERAGED: bool
    REFERENCE: bool

    def losses(self, pairs: Pairs, strength: Strength) -> Tensor:
        """The loss of each pair [pairs]."""
        ...


def load_loss(name: str) -> PreferenceLoss:
    """The loss that `pref_loss` names. Raises LookupError."""
    return cast(PreferenceLoss, find(__name__, name))


def measures_of(loss: PreferenceLoss, pairs: Pairs) -> Mapping[str, Tensor]:
    """What the loss shows beside itself [pairs], by name."""
    found = getattr(loss, "measures", None)
    return {} if found is None else found(pairs)
