"""The parts of a step's memory follow from the work; the ways to fit are those that fit, what costs least first."""

from __future__ import annotations

from dataclasses import replace

from hone.training.budget import Workload, budget, ways

WORK = Workload(
    weights=1000 << 20, learning=250 << 20, blocks=10, hidden=1000, kept=10_000, vocabulary=1000, tokens=1000,
    labels=500,
)  # fmt: skip


def test_gradients_and_optimizer_follow_from_what_learns() -> None:
    found = budget(WORK)
    assert (found.gradients, found.optimizer) == (1000 << 20, 2000 << 20)
    assert found.total == sum((found.weights, found.gradients, found.optimizer, found.activations, found.logits))


def test_recomputing_keeps_the_inputs_of_blocks_and_two_blocks() -> None:
    layer = 1000 * 10_000 * 4
    assert budget(WORK).activations == 11 * layer
    assert budget(replace(WORK, recomputes=True)).activations == 10 * 1000 * 1000 * 4 + 2 * layer


def test_logits_are_only_ever_there_for_a_chunk() -> None:
    assert budget(replace(WORK, hidden=0, labels=10_000)).logits == budget(replace(WORK, hidden=0, labels=128)).logits


def test_ways_fit_and_the_cheapest_stand_first() -> None:
    full = budget(WORK).total
    found = ways(WORK, batch=4, passes=2, available=full - (200 << 20), every_weight=True)
    assert len(found) == 3
    assert found[0].change == "per_device_train_batch_size: 2, gradient_accumulation_steps: 4"
    assert all(way.total <= full - (200 << 20) for way in found)
    narrow = ways(WORK, batch=4, passes=2, available=1800 << 20, every_weight=True)
    assert "finetuning_type: lora" in narrow[0].change
    assert ways(WORK, batch=1, passes=1, available=1, every_weight=True) == []
