"""The loss of GRPO: advantages within groups, clipping on the right side, a KL that is never negative."""

from __future__ import annotations

import pytest
import torch

from hone.training.losses.grpo import Clipping, group_advantages, kl_estimate, token_losses


def test_advantages_compare_within_a_group() -> None:
    rewards = torch.tensor([0.0, 1.0, 5.0, 5.0])
    centred = group_advantages(rewards, 2, "none")
    assert centred.tolist() == [-0.5, 0.5, 0.0, 0.0]
    scaled = group_advantages(rewards, 2)
    assert scaled[1] == pytest.approx(0.5 / (0.5**0.5 + 1e-4))
    assert scaled[2:].tolist() == [0.0, 0.0]


def test_on_policy_the_gradient_is_that_of_the_policy_gradient() -> None:
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    found = token_losses(logprobs, logprobs.detach(), None, torch.tensor([2.0, -3.0]), Clipping())
    found.losses.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-2.0, 3.0]
    assert not found.clipped.any()


def test_a_ratio_beyond_the_clip_pulls_no_further() -> None:
    old = torch.zeros(4)
    logprobs = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    found = token_losses(logprobs, old, None, advantages, Clipping(0.2, 0.3))
    found.losses.sum().backward()
    assert found.clipped.tolist() == [True, False, False, True]
    assert logprobs.grad is not None
    assert (logprobs.grad == 0).tolist() == [True, False, False, True]
    assert found.losses[0].item() == pytest.approx(-1.3)
    assert found.losses[3].item() == pytest.approx(0.8)


def test_the_kl_is_zero_at_the_reference_and_positive_elsewhere() -> None:
    reference = torch.tensor([-1.0, -1.0, -1.0])
    kl = kl_estimate(torch.tensor([-1.0, -0.5, -3.0]), reference)
    assert kl[0] == 0
    assert (kl[1:] > 0).all()
    clipping = Clipping(beta=0.5)
    with_kl = token_losses(torch.tensor([-0.5]), torch.tensor([-0.5]), reference[:1], torch.tensor([0.0]), clipping)
    assert with_kl.losses == pytest.approx(0.5 * kl[1].item())
