"""Cross-entropy weighed token by token: DFT, ASFT and EAFT, as functions of rows of logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

TOP = 20
"""EAFT's entropy is that of the likeliest so many tokens."""
FULL = 3.0
"""What that entropy is divided by: its largest value, ln 20, rounded as the authors do."""

RowLoss = Callable[[Tensor, Tensor, slice], Tensor]
"""From logits [n, V], targets [n] and which rows they are, to the loss of each row [n]."""
Reference = Callable[[slice], Tensor]
"""The logits [n, V] of a reference at some rows."""


def dft(alpha: float, reference: Reference | None) -> RowLoss:
    """DFT (Wu et al. 2025): the cross-entropy times the label's own probability, which gets no gradient."""

    def losses(logits: Tensor, targets: Tensor, _: slice) -> Tensor:
        logprobs = _logprobs(logits, targets)
        return -logprobs * logprobs.detach().exp()

    return losses


def asft(alpha: float, reference: Reference | None) -> RowLoss:
    """ASFT (Zhu et al. 2025): DFT, anchored by `alpha` times the divergence of the policy from the reference."""
    assert reference is not None, "ASFT compares with a reference"
    unanchored = dft(alpha, None)

    def losses(logits: Tensor, targets: Tensor, rows: slice) -> Tensor:
        return unanchored(logits, targets, rows) + alpha * divergence(reference(rows), logits)

    return losses


def eaft(alpha: float, reference: Reference | None) -> RowLoss:
    """EAFT (Diao et al. 2026): the cross-entropy times (entropy / its maximum) to the power `alpha`, no gradient."""

    def losses(logits: Tensor, targets: Tensor, _: slice) -> Tensor:
        return -_logprobs(logits, targets) * (top_entropy(logits.detach()) / FULL) ** alpha

    return losses


WEIGHED = {"dft": dft, "asft": asft, "eaft": eaft}
"""By the name in `use_<name>_loss`: what makes the loss, of its strength and (for ASFT) a reference."""


def divergence(reference: Tensor, policy: Tensor) -> Tensor:
    """KL(reference || policy) in nats of each row of logits [n, V]."""
    wanted, found = log_softmax(reference, -1), log_softmax(policy, -1)
    return (wanted.exp() * (wanted - found)).sum(-1)


def top_entropy(logits: Tensor) -> Tensor:
    """The entropy, in nats, of the likeliest tokens of each row among themselves; at most ln 20."""
    logprobs = log_softmax(logits.topk(min(TOP, logits.shape[-1]), -1).values, -1)
    return -(logprobs.exp() * logprobs).sum(-1)


def _logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets[:, None])[:, 0] - torch.logsumexp(logits, -1)
