"""The losses of PPO, against their published formulas and numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from hone.training.losses import ppo
from hone.training.losses.ppo import Moments, moments_of


def test_advantages_are_the_discounted_sums_of_surprises() -> None:
    rewards = torch.tensor([0.0, 0.0, 1.0, 2.0])
    values = torch.tensor([0.5, 0.25, 0.75, 1.0])
    found = ppo.advantages_of(rewards, values, [3, 1], discount=0.9, trace=0.8)
    third = 1.0 - 0.75
    second = 0.9 * 0.75 - 0.25 + 0.72 * third
    first = 0.9 * 0.25 - 0.5 + 0.72 * second
    assert found.tolist() == pytest.approx([first, second, third, 1.0])


def test_with_a_trace_of_one_the_return_is_what_is_still_to_come() -> None:
    torch.manual_seed(0)
    rewards, values = torch.randn(7), torch.randn(7)
    counts = [4, 0, 3]
    returns = ppo.advantages_of(rewards, values, counts, discount=1.0, trace=1.0) + values
    parts = rewards.split(counts)
    expected = torch.cat([part.flip(0).cumsum(0).flip(0) for part in parts])
    torch.testing.assert_close(returns, expected)
    assert ppo.advantages_of(rewards[:0], values[:0], [0, 0]).tolist() == []


def test_a_score_stands_at_the_last_token_and_every_token_pays_for_its_distance() -> None:
    logprobs, reference = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.5, -2.0, -2.0])
    found = ppo.token_rewards(logprobs, reference, torch.tensor([5.0, 9.0, 7.0]), torch.tensor([2, 0, 1]), 0.2)
    assert found.tolist() == pytest.approx([-0.1, 5.0, 7.2])


def test_a_ratio_beyond_the_clip_pulls_no_further() -> None:
    logprobs = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    losses, clipped = ppo.policy_losses(logprobs, torch.zeros(4), torch.tensor([1.0, 1.0, -1.0, -1.0]), 0.2)
    losses.sum().backward()
    assert clipped.tolist() == [True, False, False, True]
    assert logprobs.grad is not None
    assert (logprobs.grad == 0).tolist() == clipped.tolist()
    assert losses.tolist() == pytest.approx([-1.2, -(2.718281828**-0.5), 2.718281828**0.5, 0.8])


def test_a_value_that_leaps_counts_as_if_it_had_not() -> None:
    values = torch.tensor([1.0, 1.0, 0.1], requires_grad=True)
    losses, clipped = ppo.value_losses(values, torch.zeros(3), torch.tensor([2.0, 0.0, 1.0]), 0.2)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([1.8**2 / 2, 0.5, 0.9**2 / 2])
    assert clipped.tolist() == [True, False, False]
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0.0, 1.0, -0.9])


def test_the_coefficient_follows_the_kl_and_no_faster_than_the_bound() -> None:
    assert ppo.next_coefficient(0.2, 6.0, target=6.0, answers=100) == pytest.approx(0.2)
    assert ppo.next_coefficient(0.2, 6.6, target=6.0, answers=100) == pytest.approx(0.2 * (1 + 0.1 * 0.01))
    assert ppo.next_coefficient(0.2, 600.0, target=6.0, answers=100) == pytest.approx(0.2 * (1 + 0.2 * 0.01))
    assert ppo.next_coefficient(0.2, -5.0, target=6.0, answers=100) == pytest.approx(0.2 * (1 - 0.2 * 0.01))


def test_white_numbers_have_a_variance_of_one() -> None:
    torch.manual_seed(0)
    values = torch.randn(50) * 3 + 5
    white = ppo.whitened(values, moments_of(values))
    assert (white.mean().item(), white.var().item()) == pytest.approx((0, 1), abs=1e-5)
    kept = ppo.whitened(values, moments_of(values), shift=False)
    assert (kept.mean().item(), kept.var().item()) == pytest.approx((values.mean().item(), 1), rel=1e-5)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    values = torch.randn(30) + 100
    whole = Moments()
    for part in values.split([1, 20, 9]):
        whole = whole.with_more(moments_of(part))
    assert whole.mean == pytest.approx(values.double().mean().item())
    assert whole.deviation == pytest.approx(values.double().std().item())
    assert whole.normal(values).std().item() == pytest.approx(1, rel=1e-5)
    assert Moments().with_more(Moments()).deviation == 0
