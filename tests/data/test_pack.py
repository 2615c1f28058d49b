"""Packs and blocks: nothing is lost, nothing is too long."""

from __future__ import annotations

import numpy as np
import pytest

from hone.data.pack import fit, stream
from hone.dialogue.example import Example


def text(*ids: int) -> Example:
    return Example(np.array(ids, dtype=np.int32), np.array(ids, dtype=np.int32))


@pytest.mark.parametrize("seed", range(5))
def test_every_example_is_in_one_bin_that_holds_it(seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 60, size=200).tolist()
    bins = fit(lengths, 60)
    assert sorted(number for packed in bins for number in packed) == list(range(200))
    assert all(sum(lengths[number] for number in packed) <= 60 for packed in bins)


def test_an_example_that_is_too_long_is_not_lost() -> None:
    assert fit([5, 70, 3], 10) == [[1], [0, 2]]


def test_texts_run_on_and_the_rest_is_a_shorter_block() -> None:
    blocks = list(stream([text(1, 2, 3), text(4, 5, 6, 7, 8)], 3))
    assert [block.input_ids.tolist() for block in blocks] == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert all(block.labels.tolist() == block.input_ids.tolist() for block in blocks)


def test_a_first_token_costs_no_text() -> None:
    blocks = list(stream([text(1, 2, 3, 4)], 3, first=9))
    assert [block.input_ids.tolist() for block in blocks] == [[9, 1, 2], [9, 3, 4]]
    assert [block.learned for block in blocks] == [2, 2]
