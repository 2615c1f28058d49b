"""Slots for keys and values: what is under way is kept, and together they take no more room than there is."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.engines.base import Settings
from hone.engines.slots import GROWTH, Slots


def read(slots: Slots, slot: int, ids: list[int]) -> None:
    """As a forward does: keys and values of these tokens (here the tokens themselves) at the end of a slot."""
    start = len(slots.ids[slot])
    slots.make_room(0, start + len(ids))
    for buffer in slots.buffers:
        buffer[slot, start : start + len(ids)] = torch.tensor(ids)[:, None, None]
    slots.ids[slot] += ids


def right(slots: Slots) -> bool:
    """Whether every slot holds what it says it does."""
    return all(
        buffer[slot, : len(ids), 0, 0].tolist() == ids for buffer in slots.buffers for slot, ids in enumerate(slots.ids)
    )


def size(slots: Slots) -> int:
    return len(slots.ids) * slots.columns


def made(room: int | None) -> Slots:
    slots = Slots(2, (2, 3), torch.float32)
    slots.room = room
    return slots


@pytest.mark.parametrize("room", [None, 8 * GROWTH])
def test_a_long_request_after_many_short_ones_takes_their_room(room: int | None) -> None:
    slots = made(room)
    for number in range(8):
        slot, _ = slots.take([number], 0)
        read(slots, slot, [number] * 20)
    assert size(slots) == 8 * GROWTH
    while slots.used:
        slots.leave(0)
    slot, _ = slots.take([9], 0)
    read(slots, slot, list(range(7 * GROWTH)))
    assert right(slots)
    assert size(slots) == 7 * GROWTH if room else size(slots) > 8 * 7 * GROWTH


def test_many_short_requests_after_a_long_one_are_no_wider_than_they_must() -> None:
    slots = made(8 * GROWTH)
    slot, _ = slots.take([9], 0)
    read(slots, slot, list(range(7 * GROWTH)))
    slots.leave(slot)
    for number in range(8):
        slot, _ = slots.take([number], 0)
        read(slots, slot, [number] * 20)
        assert right(slots)
        assert size(slots) <= 8 * GROWTH


@pytest.mark.parametrize("seed", range(20))
def test_nothing_under_way_is_lost_whatever_comes(seed: int) -> None:
    draw, slots, under_way = random.Random(seed), made(6 * GROWTH), dict[int, list[int]]()
    most = 6 * GROWTH
    for step in range(60):
        if under_way and draw.random() < 0.4:
            leaving = draw.choice(list(under_way))
            moved = slots.leave(leaving)
            del under_way[leaving]
            if moved in under_way:
                under_way[leaving] = under_way.pop(moved)
        else:
            ids = [draw.randrange(3) for _ in range(draw.choice([3, 30, 300]))]
            slot, kept = slots.take(ids, len(ids) - 1)
            read(slots, slot, ids[kept:])
            under_way[slot] = ids
        assert right(slots)
        assert all(slots.ids[slot] == ids for slot, ids in under_way.items()), step
        wide = max(map(len, under_way.values()), default=0) + 1
        most = max(most, len(under_way) * -(-wide // GROWTH) * GROWTH)
        assert size(slots) <= most


def test_an_engine_keeps_to_its_memory_and_to_its_answers(tiny_model: Callable[[str], Path]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hone.engines.memory import Memory
    from hone.engines.torch import TorchEngine

    folder = tiny_model("llama")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    allowed = 4 * GROWTH * Memory.of(model, 1).token
    engine = TorchEngine(model, tokenizer, memory=allowed)
    long = [5 + place % 200 for place in range(400)]
    for prompts in ([[5 + number, 17, 41] for number in range(8)], [long], [[9, number + 5] for number in range(4)]):
        answers = [engine.generate(prompt, Settings(do_sample=False, max_new_tokens=6)) for prompt in prompts]
        for prompt, pieces in zip(prompts, answers, strict=True):
            whole = model.generate(
                torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0
            )
            assert [token for piece in pieces for token in piece.ids] == whole[0, len(prompt) :].tolist()
        slots: Any = engine.scheduler.board
        assert sum(buffer.nbytes for buffer in slots.slots.buffers) <= allowed
