"""The order of examples: everything once, the same from the same seed and epoch, another in each epoch."""

from __future__ import annotations

from hone.training.order import SeededOrder


def order(size: int, seed: int, epoch: int) -> list[int]:
    sampler = SeededOrder(size, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_every_example_comes_once() -> None:
    assert sorted(order(57, 1, 3)) == list(range(57))
    assert len(SeededOrder(57, seed=1)) == 57


def test_seed_and_epoch_decide_and_nothing_else() -> None:
    assert order(40, 7, 2) == order(40, 7, 2)
    assert len({tuple(order(40, seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6
