"""SLiC (Zhao et al. 2023): the better answer should win by a scaled margin of one, and no more is asked."""

from __future__ import annotations

from torch import Tensor, relu

from hone.training.losses.pairs import Pairs, Strength

AVERAGED, REFERENCE = False, True


def losses(pairs: Pairs, strength: Strength) -> Tensor:
    """max(0, 1 - beta m), for the margin m."""
    return relu(1 - strength.beta * pairs.margins)
