"""KTO (Ethayarajh et al. 2024): one answer, liked or not, judged against how far the policy has drifted."""

from __future__ import annotations

import torch
from torch import Tensor


def kto_losses(ratios: Tensor, drift: Tensor, good: Tensor, *, beta: float, liked: float, disliked: float) -> Tensor:
    """The loss of each answer [n]: `liked` (1 - s(beta (r - d))) or `disliked` (1 - s(beta (d - r))).

    `ratios` [n] are the log-ratios r of policy to reference, in nats; `drift` is d, a scalar without gradient; `good`
    [n] says which answers were liked.
    """
    signs = torch.where(good, 1.0, -1.0)
    weights = torch.where(good, liked, disliked)
    return weights * (1 - torch.sigmoid(beta * signs * (ratios - drift)))


def drift_of(policy: Tensor, reference: Tensor) -> Tensor:
    """The estimate of the KL divergence from answers to other questions: their mean log-ratio, at least 0."""
    return (policy - reference).mean().clamp(min=0).detach()
