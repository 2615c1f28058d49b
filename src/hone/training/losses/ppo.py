"""Proximal policy optimisation (Schulman et al. 2017) of answers: rewards of tokens, advantages, clipped losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

if TYPE_CHECKING:
    from torch import Tensor

CLIP = 0.2
"""How far from 1 the ratio of new to old probability counts."""
VALUE_CLIP = 0.2
"""How far from the old value a new one counts."""
VALUE_WEIGHT = 0.1
DISCOUNT, TRACE = 1.0, 0.95
"""Gamma and lambda of the advantages (Schulman et al. 2016)."""
FIRST_COEFFICIENT, HORIZON, MOST = 0.2, 10_000, 0.2
"""Of the KL's coefficient: its start, how many answers a full correction takes, and the largest error that counts."""
SMALLEST = 1e-8
"""Added to a variance, or to a deviation, before it divides."""


@dataclass(frozen=True)
class Moments:
    """How many numbers were seen, their mean, and the sum of their squared distances from it."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation, that of a sample; 0 of fewer than two."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0

    def with_more(self, other: Moments) -> Moments:
        """Of both together (Chan et al. 1979)."""
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        mean = self.mean + apart * other.count / count
        return Moments(count, mean, self.squares + other.squares + apart**2 * self.count * other.count / count)

    def normal(self, values: Tensor) -> Tensor:
        """Values less the mean, over the deviation."""
        return (values - self.mean) / (self.deviation + SMALLEST)


def moments_of(values: Tensor) -> Moments:
    """Of all numbers of a tensor."""
    if not values.numel():
        return Moments()
    exact = values.double()
    return Moments(float(exact.numel()), float(exact.mean()), float((exact - exact.mean()).square().sum()))


def whitened(values: Tensor, moments: Moments, *, shift: bool = True) -> Tensor:
    """Values with a variance of 1, and a mean of 0 (`shift` off: with the mean they had)."""
    variance = moments.squares / max(moments.count - 1, 1)
    white = (values - moments.mean) / math.sqrt(variance + SMALLEST)
    return white if shift else white + moments.mean


def token_rewards(logprobs: Tensor, reference: Tensor, scores: Tensor, counts: Tensor, coefficient: float) -> Tensor:
    """Of each token [N]: -coefficient (log-probability less the reference's), and at the last of an answer its score.

    `scores`, `counts` [S]; an answer without tokens has nowhere to put its score.
    """
    rewards = -coefficient * (logprobs - reference)
    held = counts > 0
    rewards[counts.cumsum(0)[held] - 1] += scores[held].to(rewards.dtype)
    return rewards


def advantages_of(
    rewards: Tensor, values: Tensor, counts: Sequence[int], *, discount: float = DISCOUNT, trace: float = TRACE
) -> Tensor:
    """Generalised advantage estimates [N] from the rewards and values [N] of answers of `counts` tokens; behind the
    last token of an answer nothing is to be had."""
    kept, sizes = [count for count in counts if count], list(counts)
    if not kept:
        return torch.zeros_like(rewards)
    reward, value = (pad_sequence(list(one.split(sizes)), batch_first=True) for one in (rewards, values))
    following = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1)
    surprise = reward + discount * following - value
    found = torch.zeros_like(reward)
    ahead = torch.zeros_like(reward[:, 0])
    for place in range(reward.shape[1] - 1, -1, -1):
        ahead = surprise[:, place] + discount * trace * ahead
        found[:, place] = ahead
    return torch.cat([row[:count] for row, count in zip(found, sizes, strict=True)])


def policy_losses(logprobs: Tensor, old: Tensor, advantages: Tensor, clip: float = CLIP) -> tuple[Tensor, Tensor]:
    """The clipped surrogate of each token [N] with grad, and which tokens were clipped."""
    ratio = torch.exp(logprobs - old)
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(plain, clipped), (clipped > plain).detach()


def value_losses(values: Tensor, old: Tensor, returns: Tensor, clip: float = VALUE_CLIP) -> tuple[Tensor, Tensor]:
    """Half the squared error of each value [N] with grad, the worse of the value's and the clipped value's, and which
    were clipped."""
    bounded = torch.minimum(torch.maximum(values, old - clip), old + clip)
    plain, clipped = (values - returns).square(), (bounded - returns).square()
    return torch.maximum(plain, clipped) / 2, (clipped > plain).detach()


def next_coefficient(coefficient: float, kl: float, *, target: float, answers: int) -> float:
    """The KL's coefficient after `answers` answers whose mean KL was `kl` (Ziegler et al. 2019)."""
    error = min(max(kl / target - 1, -MOST), MOST)
    return coefficient * (1 + error * answers / HORIZON)
