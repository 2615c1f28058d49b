"""The histogram holds every row, and the recommended limit cuts less than one in a hundred."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hone.data.health.lengths import Lengths, enough

many = st.lists(st.integers(1, 100_000), min_size=1, max_size=400).map(np.array)


@given(many)
def test_every_row_stands_in_one_bar(lengths: np.ndarray) -> None:
    assert sum(Lengths.of(lengths, 1).counts) == len(lengths)


@given(many)
def test_enough_cuts_less_than_one_in_a_hundred_and_one_step_less_would_not(lengths: np.ndarray) -> None:
    limit = enough(lengths)
    assert limit % 64 == 0
    assert (lengths > limit).sum() < 0.01 * len(lengths)
    assert (lengths > limit - 64).sum() >= 0.01 * len(lengths)


def test_rows_over_the_limit_are_counted() -> None:
    assert Lengths.of(np.array([10, 20, 21, 30]), 20).over == 2


def test_bars_begin_at_the_shortest_row() -> None:
    lines = list(Lengths.of(np.array([70, 80, 300]), 2048).lines())
    assert lines[0].startswith("tokens a row: 70 at least, 80 in the middle")
    assert [line.split()[-1] for line in lines[1:]] == ["1", "1", *["0"] * 10, "1"]


def test_bars_double_where_lengths_are_far_apart() -> None:
    assert Lengths.of(np.array([1, 20, 500]), 2048).edges == (0, 16, 32, 64, 128, 256, 512)


def test_no_rows_no_lines() -> None:
    assert list(Lengths.of(np.array([], dtype=np.int64), 5).lines()) == []
