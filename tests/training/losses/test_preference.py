"""Preference losses by their published formulas, written out with plain numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from hone.registry import names
from hone.training.losses.bco import RunningMean, bco_losses, mixed
from hone.training.losses.kto import drift_of, kto_losses
from hone.training.losses.pairs import Pairs, Strength
from hone.training.losses.preference import load_loss, measures_of
from hone.training.losses.reward import reward_losses

CHOSEN, REJECTED = [-3.0, -1.5], [-2.0, -4.0]
BEFORE_CHOSEN, BEFORE_REJECTED = [-3.5, -1.0], [-2.5, -3.0]
PAIRS = Pairs(*(torch.tensor(values) for values in (CHOSEN, REJECTED, BEFORE_CHOSEN, BEFORE_REJECTED)))
BETA, SMOOTHING, GAMMA = 0.3, 0.2, 0.7


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def log_sigmoid(value: float) -> float:
    return math.log(sigmoid(value))


def log_odds(value: float) -> float:
    return math.log(math.exp(value) / (1 - math.exp(value)))


def cdpo(c: float, r: float, bc: float, br: float) -> float:
    margin = BETA * ((c - bc) - (r - br))
    return -(1 - SMOOTHING) * log_sigmoid(margin) - SMOOTHING * log_sigmoid(-margin)


FORMULAS: dict[str, Callable[[float, float, float, float], float]] = {
    "sigmoid": cdpo,
    "hinge": lambda c, r, bc, br: max(0.0, 1 - BETA * ((c - bc) - (r - br))),
    "ipo": lambda c, r, bc, br: ((c - bc) - (r - br) - 1 / (2 * BETA)) ** 2,
    "orpo": lambda c, r, bc, br: -c - BETA * log_sigmoid(log_odds(c) - log_odds(r)),
    "simpo": lambda c, r, bc, br: -log_sigmoid(BETA * (c - r) - GAMMA),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_is_its_formula(name: str) -> None:
    found = load_loss(name).losses(PAIRS, Strength(BETA, SMOOTHING, GAMMA))
    rows = zip(CHOSEN, REJECTED, BEFORE_CHOSEN, BEFORE_REJECTED, strict=True)
    assert found.tolist() == pytest.approx([FORMULAS[name](*row) for row in rows], rel=1e-5)


def test_every_loss_of_the_folder_has_a_formula_here() -> None:
    assert set(names("hone.training.losses.preference")) - {"__init__"} == {*FORMULAS, "kto_pair"}


def test_kto_on_pairs_judges_against_the_drift_of_the_other_answers() -> None:
    better, worse = [0.5, -0.5], [0.5, -1.0]
    drift_better, drift_worse = max(0.0, sum(better) / 2), max(0.0, sum(worse) / 2)
    expected = [
        ((1 - sigmoid(BETA * (c - drift_worse))) + (1 - sigmoid(BETA * (drift_better - r)))) / 2
        for c, r in zip(better, worse, strict=True)
    ]
    assert load_loss("kto_pair").losses(PAIRS, Strength(BETA)).tolist() == pytest.approx(expected, rel=1e-5)


def test_orpo_shows_its_two_parts() -> None:
    assert set(measures_of(load_loss("orpo"), PAIRS)) == {"sft_loss", "odds_ratio_loss"}
    assert measures_of(load_loss("simpo"), PAIRS) == {}


def test_kto_weighs_liked_and_disliked_answers_against_the_drift() -> None:
    ratios, good = torch.tensor([1.0, -2.0]), torch.tensor([True, False])
    drift = drift_of(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.5]))
    found = kto_losses(ratios, drift, good, beta=BETA, liked=2.0, disliked=3.0)
    expected = [2 * (1 - sigmoid(BETA * (1.0 - 0.5))), 3 * (1 - sigmoid(BETA * (0.5 + 2.0)))]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert drift_of(torch.tensor([0.0]), torch.tensor([1.0])) == 0


def test_the_baseline_of_bco_is_the_mean_of_all_rewards_so_far() -> None:
    baseline = RunningMean()
    baseline.take(torch.tensor(1.0), 2)
    baseline.take(torch.tensor(4.0), 4)
    assert baseline == RunningMean(3.0, 6)
    found = bco_losses(PAIRS, Strength(BETA), 0.4)
    first = -log_sigmoid(BETA * 0.5 - 0.4) - log_sigmoid(-(BETA * 0.5 - 0.4))
    assert found[0].item() == pytest.approx(first, rel=1e-5)
    assert mixed(torch.tensor(1.0), torch.tensor(4.0), 0.5).item() == pytest.approx(2.0)


def test_a_reward_model_wants_the_better_score_higher() -> None:
    assert reward_losses(torch.tensor([2.0]), torch.tensor([0.5])).item() == pytest.approx(-log_sigmoid(1.5), rel=1e-5)
