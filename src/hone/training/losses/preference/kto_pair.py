"""KTO on pairs (Ethayarajh et al. 2024): each answer is judged against the drift of the micro-batch's other answers."""

from __future__ import annotations

import torch
from torch import Tensor

from hone.training.losses.pairs import Pairs, Strength

AVERAGED, REFERENCE = False, True


def losses(pairs: Pairs, strength: Strength) -> Tensor:
    """The mean of 1 - s(beta (c - drift of the worse)) and 1 - s(beta (drift of the better - r)) of each pair.

    c and r are the log-ratios of the pair; a drift is the mean log-ratio over the micro-batch, at least 0, no gradient.
    """
    better, worse = pairs.chosen_ratios, pairs.rejected_ratios
    drift_better, drift_worse = (ratios.detach().mean().clamp(min=0) for ratios in (better, worse))
    liked = 1 - torch.sigmoid(strength.beta * (better - drift_worse))
    disliked = 1 - torch.sigmoid(strength.beta * (drift_better - worse))
    return (liked + disliked) / 2
