"""BCO (Jung et al. 2024): each answer is judged alone, against the mean reward so far; and that running mean."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from hone.training.losses.pairs import Pairs, Strength


@dataclass
class RunningMean:
    """The mean of all rewards seen. Part of what a run goes on from."""

    mean: float = 0.0
    count: float = 0.0

    def take(self, mean: Tensor, count: int) -> None:
        """Take in `count` rewards whose mean is `mean`."""
        self.count += count
        self.mean += (float(mean) - self.mean) * count / self.count


def bco_losses(pairs: Pairs, strength: Strength, baseline: float) -> Tensor:
    """-log s(beta c - b) - log s(b - beta r) of each pair [pairs], for log-ratios c, r and the baseline b."""
    better, worse = strength.beta * pairs.chosen_ratios, strength.beta * pairs.rejected_ratios
    return -logsigmoid(better - baseline) - logsigmoid(baseline - worse)


def mixed(losses: Tensor, other: Tensor, weight: float) -> Tensor:
    """(L + w L') / (1 + w)."""
    return (losses + weight * other) / (1 + weight)
