"""The order of examples: everything once, the same from the same seed and epoch, another in each epoch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hone.training.order import SeededOrder, in_reach


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


@pytest.mark.parametrize("process", [0, 1])
def test_processes_that_skip_what_was_seen_are_in_the_order_of_the_epoch(process: int) -> None:
    """As accelerate hands out batches to two processes, and goes on in the middle of an epoch."""
    from accelerate.data_loader import prepare_data_loader, skip_first_batches

    order = SeededOrder(12, seed=3)
    loader = torch.utils.data.DataLoader(range(12), batch_size=2, sampler=order)  # type: ignore[arg-type]
    shared = in_reach(prepare_data_loader(loader, num_processes=2, process_index=process, put_on_device=False))

    def batches(loader: Any) -> list[list[int]]:
        loader.set_epoch(1)
        return [batch.tolist() for batch in loader]

    whole = batches(shared)
    order.set_epoch(0)
    assert batches(skip_first_batches(shared, 2)) == whole[2:]
