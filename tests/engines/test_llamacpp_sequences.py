"""Which sequence holds what: never more cells than there are, and nothing taken over that was not read there."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hone.engines.llamacpp.sequences import WORTH, Sequences


class Ledger:
    """What llama.cpp's header promises of cells: each holds the token of a place, for the sequences that share it."""

    def __init__(self) -> None:
        self.held: list[tuple[int, int, set[int]]] = []

    def read(self, sequence: int, place: int, token: int) -> None:
        self.held.append((place, token, {sequence}))

    def forget(self, sequence: int, kept: int) -> None:
        for place, _, owners in self.held:
            if place >= kept:
                owners.discard(sequence)
        self.held = [cell for cell in self.held if cell[2]]

    def share(self, source: int, sequence: int, tokens: int) -> None:
        for place, _, owners in self.held:
            if place < tokens and source in owners:
                owners.add(sequence)

    def of(self, sequence: int) -> list[int]:
        return [token for _, token, owners in sorted(self.held, key=lambda cell: cell[0]) if sequence in owners]


def read(sequences: Sequences, cells: Ledger, sequence: int, ids: list[int]) -> None:
    sequences.make_room(len(ids))
    for token in ids:
        cells.read(sequence, len(sequences.ids[sequence]), token)
        sequences.ids[sequence].append(token)


def test_a_prompt_that_goes_on_where_another_ended_takes_its_place_over() -> None:
    cells = Ledger()
    sequences = Sequences(cells, 3, 100, reuse=True)
    first, kept = sequences.take(list(range(20)))
    read(sequences, cells, first, list(range(20)))
    sequences.leave(first)
    assert kept == 0
    assert sequences.take(list(range(25))) == (first, 20)
    assert cells.of(first) == list(range(20))


def test_what_is_under_way_is_shared_and_not_taken() -> None:
    cells = Ledger()
    sequences = Sequences(cells, 3, 100, reuse=True)
    first, _ = sequences.take(list(range(20)))
    read(sequences, cells, first, list(range(20)))
    second, kept = sequences.take([*range(15), 99])
    assert second != first and kept == 15
    assert (cells.of(first), cells.of(second)) == (list(range(20)), list(range(15)))
    assert len(cells.held) == 20


def test_the_last_token_is_always_read_and_short_beginnings_are_not_worth_it() -> None:
    cells = Ledger()
    sequences = Sequences(cells, 2, 100, reuse=True)
    first, _ = sequences.take(list(range(20)))
    read(sequences, cells, first, list(range(20)))
    sequences.leave(first)
    assert sequences.take(list(range(20)))[1] == 19
    assert sequences.take([*range(WORTH - 1), 77, 78])[1] == 0


def test_a_state_that_cannot_be_cut_is_never_taken_over() -> None:
    cells = Ledger()
    sequences = Sequences(cells, 2, 100, reuse=False)
    first, _ = sequences.take(list(range(20)))
    read(sequences, cells, first, list(range(20)))
    sequences.leave(first)
    assert cells.held == []
    assert sequences.take(list(range(25)))[1] == 0


ACTION = st.tuples(st.sampled_from(["take", "read", "leave"]), st.integers(0, 5), st.integers(1, 30))


@settings(max_examples=200, deadline=None)
@given(st.lists(ACTION, max_size=40))
def test_whatever_comes_and_goes_each_sequence_holds_what_is_said_of_it(actions: list[Any]) -> None:
    cells, most = Ledger(), 60
    sequences = Sequences(cells, 4, most, reuse=True)
    busy: list[int] = []
    for what, which, count in actions:
        if what == "take" and len(busy) < 2:
            prompt = [place if place < 10 * which else 100 + which for place in range(count)]
            sequence, kept = sequences.take(prompt)
            assert sequence not in busy and kept < len(prompt)
            assert cells.of(sequence) == prompt[:kept]
            busy.append(sequence)
        elif what == "read" and busy:
            sequence = busy[which % len(busy)]
            have = len(sequences.ids[sequence])
            if have + count <= most // 2:  # the scheduler lets no more in
                read(sequences, cells, sequence, [place if place < 10 * which else 200 for place in range(count)])
        elif what == "leave" and busy:
            sequences.leave(busy.pop(which % len(busy)))
        assert len(cells.held) <= most
        for sequence in range(4):
            assert cells.of(sequence) == sequences.ids[sequence]
