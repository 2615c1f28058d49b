"""DPO (Rafailov et al. 2023): the better answer should win by the margin's logistic; with smoothing, cDPO."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from hone.training.losses.pairs import Pairs, Strength

AVERAGED, REFERENCE = False, True


def losses(pairs: Pairs, strength: Strength) -> Tensor:
    """-(1 - e) log s(beta m) - e log s(-beta m), for the margin m and the smoothing e."""
    scaled = strength.beta * pairs.margins
    return -(1 - strength.smoothing) * logsigmoid(scaled) - strength.smoothing * logsigmoid(-scaled)
