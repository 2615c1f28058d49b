"""The buffer of experience: which prompts are answered when, and how often answers are learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from hone.training.experience import Buffer


def steps(buffer: Buffer, prompts: Iterator[Any], calls: int, gathered: list[list[int]]) -> list[list[int]]:
    def gather(batches: Sequence[Any]) -> Sequence[Any]:
        gathered.append([batch["n"] for batch in batches])
        return batches

    return [[batch["n"] for batch in buffer(prompts, 2, gather)] for _ in range(calls)]


def epoch(batches: int, first: int = 0) -> Iterator[Any]:
    return iter([{"n": number} for number in range(first, batches)])


def test_by_itself_every_step_answers_its_own_prompts() -> None:
    gathered: list[list[int]] = []
    assert steps(Buffer(1, 1), epoch(5), 3, gathered) == [[0, 1], [2, 3], [4]]
    assert gathered == [[0, 1], [2, 3], [4]]


def test_prompts_of_several_steps_are_answered_at_once_and_learned_from_in_rounds() -> None:
    gathered: list[list[int]] = []
    found = steps(Buffer(2, 2), epoch(16), 8, gathered)
    assert found == [[0, 1], [2, 3], [0, 1], [2, 3], [8, 9], [10, 11], [8, 9], [10, 11]]
    assert gathered == [[0, 1, 2, 3], [8, 9, 10, 11]]


@pytest.mark.parametrize("place", [4, 8])
def test_a_run_resumed_at_the_first_step_of_a_buffer_goes_on_as_if_never_stopped(place: int) -> None:
    whole = steps(Buffer(2, 2), epoch(24), 12, [])
    assert steps(Buffer(2, 2), epoch(24, first=2 * place), 12 - place, []) == whole[place:]


def test_a_new_epoch_begins_with_new_answers() -> None:
    buffer, gathered = Buffer(2, 2), list[list[int]]()
    steps(buffer, epoch(4), 1, gathered)
    assert steps(buffer, epoch(4), 1, gathered) == [[0, 1]]
    assert len(gathered) == 2
