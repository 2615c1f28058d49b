"""IPO (Azar et al. 2023): the margin should be 1 / (2 beta), neither less nor more; log-probabilities are means."""

from __future__ import annotations

from torch import Tensor

from hone.training.losses.pairs import Pairs, Strength

AVERAGED, REFERENCE = True, True


def losses(pairs: Pairs, strength: Strength) -> Tensor:
    """(m - 1 / (2 beta))^2, for the margin m of mean log-probabilities."""
    return (pairs.margins - 1 / (2 * strength.beta)) ** 2
