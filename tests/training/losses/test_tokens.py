"""Weighed token losses by their formulas, and that the weights get no gradient."""

from __future__ import annotations

import pytest
import torch

from hone.training.losses.tokens import FULL, WEIGHED, divergence, top_entropy

ALL = slice(0, 3)


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


TARGETS = torch.tensor([3, 0, 49])


def test_dft_is_cross_entropy_by_probability(logits: torch.Tensor) -> None:
    probabilities = torch.softmax(logits, -1)[range(3), TARGETS]
    found = WEIGHED["dft"](0.0, None)(logits, TARGETS, ALL)
    torch.testing.assert_close(found, -probabilities * probabilities.log())
    (slope,) = torch.autograd.grad(found.sum(), logits)
    (plain,) = torch.autograd.grad(-torch.log_softmax(logits, -1)[range(3), TARGETS].sum(), logits)
    torch.testing.assert_close(slope, plain * probabilities.detach()[:, None])


def test_eaft_is_cross_entropy_by_entropy_of_the_likeliest(logits: torch.Tensor) -> None:
    top = torch.softmax(logits.detach().topk(20, -1).values, -1)
    entropy = -(top * top.log()).sum(-1)
    torch.testing.assert_close(top_entropy(logits), entropy)
    found = WEIGHED["eaft"](2.0, None)(logits, TARGETS, ALL)
    plain = -torch.log_softmax(logits, -1)[range(3), TARGETS]
    torch.testing.assert_close(found, plain * (entropy / FULL) ** 2)
    (slope,) = torch.autograd.grad(found.sum(), logits, retain_graph=True)
    (unweighed,) = torch.autograd.grad(plain.sum(), logits)
    torch.testing.assert_close(slope, unweighed * ((entropy / FULL) ** 2)[:, None])


def test_asft_adds_the_divergence_from_the_reference(logits: torch.Tensor) -> None:
    before = logits.detach().flip(0)
    wanted = torch.softmax(before, -1)
    distance = (wanted * (wanted.log() - torch.log_softmax(logits, -1))).sum(-1)
    torch.testing.assert_close(divergence(before, logits), distance)
    found = WEIGHED["asft"](0.3, lambda rows: before[rows])(logits, TARGETS, ALL)
    torch.testing.assert_close(found, WEIGHED["dft"](0.0, None)(logits, TARGETS, ALL) + 0.3 * distance)
    assert float(divergence(before, before).abs().max()) < 1e-12
