"""SimPO (Meng et al. 2024): mean log-probabilities should differ by a margin; no reference."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from hone.training.losses.pairs import Pairs, Strength

AVERAGED, REFERENCE = True, False


def losses(pairs: Pairs, strength: Strength) -> Tensor:
    """-log s(beta (c - r) - gamma), for the mean log-probabilities c and r."""
    return -logsigmoid(strength.beta * (pairs.chosen - pairs.rejected) - strength.gamma)
