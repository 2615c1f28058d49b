"""Sampling, mixing and splitting: every strategy, by numbers."""

from __future__ import annotations

import numpy as np
import pytest

from hone.data.mix import mixed, sampled, split
from hone.errors import RecipeError


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        ("concat", [0, 1, 2, 3, 4]),
        ("interleave_under", [0, 2, 1, 3]),
        ("interleave_over", [0, 2, 1, 3, 0, 4]),
        ("interleave_once", [0, 2, 1, 3, 4]),
    ],
)
def test_two_sets_are_mixed_by_each_strategy(strategy: str, order: list[int]) -> None:
    assert mixed([2, 3], strategy).tolist() == order


@pytest.mark.parametrize("strategy", ["interleave_under", "interleave_over", "interleave_once"])
def test_shares_are_kept_and_the_same_seed_gives_the_same_order(strategy: str) -> None:
    order = mixed([400, 400], strategy, probabilities=(0.8, 0.2), seed=3)
    assert order.tolist() == mixed([400, 400], strategy, probabilities=(0.8, 0.2), seed=3).tolist()
    first = order[:400] < 400
    assert 0.7 < first.mean() < 0.9


def test_by_chance_every_example_comes_once_or_at_least_once() -> None:
    once = mixed([5, 9], "interleave_once", probabilities=(0.5, 0.5), seed=1)
    assert sorted(once.tolist()) == list(range(14))
    over = mixed([5, 9], "interleave_over", probabilities=(0.5, 0.5), seed=1)
    assert set(over.tolist()) == set(range(14))


def test_one_share_too_few_is_a_fault_of_the_recipe() -> None:
    with pytest.raises(RecipeError, match="interleave_probs"):
        mixed([2, 3], "interleave_under", probabilities=(1.0,))


def test_a_sample_has_no_example_twice_unless_there_are_too_few() -> None:
    assert len(set(sampled(10, 4, seed=1).tolist())) == 4
    many = sampled(3, 8, seed=1).tolist()
    assert len(many) == 8
    assert set(many) == {0, 1, 2}
    assert sampled(3, None, seed=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("val_size", "held"), [(0.2, 20), (7, 7), (0.001, 1)])
def test_a_share_or_a_number_is_split_off_and_nothing_is_lost(val_size: float, held: int) -> None:
    train, evaluated = split(100, val_size, seed=5)
    assert len(evaluated) == held
    assert np.array_equal(np.sort(np.concatenate([train, evaluated])), np.arange(100))


@pytest.mark.parametrize("val_size", [3, 4, 0.9999])
def test_a_split_that_leaves_nothing_is_a_fault_of_the_recipe(val_size: float) -> None:
    with pytest.raises(RecipeError) as error:
        split(3, val_size, seed=5)
    assert error.value.exit_code == 2
