"""Group-relative policy optimisation: answers to one question are compared with each other (Shao et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 1e-4
"""Added to a deviation before it divides."""


@dataclass(frozen=True)
class Clipping:
    """How far the ratio of new to old probability counts: within [1 - low, 1 + high]. `beta` weighs the KL."""

    low: float = 0.2
    high: float = 0.2
    beta: float = 0.0


@dataclass(frozen=True)
class TokenLosses:
    """Of each token [N]: the loss with grad, whether its ratio was clipped, and (without grad) the KL estimate."""

    losses: Tensor
    clipped: Tensor
    kl: Tensor


def group_advantages(rewards: Tensor, size: int, scale: Literal["group", "none"] = "group") -> Tensor:
    """Rewards [S], `size` answers to a question side by side → how much better each is than its group [S].

    "group" divides by the group's standard deviation; a group whose rewards are all equal teaches nothing.
    """
    groups = rewards.view(-1, size)
    centred = groups - groups.mean(1, keepdim=True)
    if scale == "group":
        centred = centred / (groups.std(1, keepdim=True, correction=int(size > 1)) + SMALLEST)
    return centred.reshape(-1)


def token_losses(
    logprobs: Tensor, old: Tensor, reference: Tensor | None, advantages: Tensor, clipping: Clipping
) -> TokenLosses:
    """The clipped surrogate of every token, from log-probabilities [N] under the policy (with grad), the policy that
    is improved upon, and the reference; `advantages` [N] are those of the answers that the tokens stand in."""
    ratio = torch.exp(logprobs - old)
    bounded = ratio.clamp(1 - clipping.low, 1 + clipping.high)
    losses = -torch.minimum(ratio * advantages, bounded * advantages)
    clipped = ((ratio < 1 - clipping.low) & (advantages < 0)) | ((ratio > 1 + clipping.high) & (advantages > 0))
    kl = torch.zeros_like(losses)
    if reference is not None:
        kl = kl_estimate(logprobs, reference)
        losses = losses + clipping.beta * kl
    return TokenLosses(losses, clipped.detach(), kl.detach())


def kl_estimate(logprobs: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) of each token, unbiased and never negative (Schulman's third estimate)."""
    difference = reference - logprobs
    return torch.exp(difference) - difference - 1
