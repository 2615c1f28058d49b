"""Example sets hold what was put in, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hone.data.examples import ExampleSet
from hone.data.pieces import Pieces, Writer
from hone.dialogue.example import IGNORED, Example


def example(length: int, *lengths: int) -> Example:
    ids = np.arange(length, dtype=np.int32) + 100
    labels = np.where(ids % 2 == 0, ids, IGNORED).astype(np.int32)
    return Example(ids, labels, lengths)


HELD = [example(5), example(1), example(7, 3, 4), example(0)]


def test_examples_come_back_in_order_with_their_segments() -> None:
    assert list(ExampleSet.of(HELD)) == HELD


def test_examples_come_back_from_disk_memory_mapped(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.append(Pieces.of(HELD[:3], rows=[4, 7, 9], digests=[1, 2, 3]))
    writer.append(Pieces.of(HELD[3:], rows=[11], digests=[2**64 - 1]))
    writer.close()
    pieces = Pieces.open(tmp_path)
    assert list(ExampleSet.over(pieces)) == HELD
    assert isinstance(pieces.input_ids, np.memmap)
    assert pieces.rows.tolist() == [4, 7, 9, 11]
    assert pieces.digests.tolist() == [1, 2, 3, 2**64 - 1]


def test_lengths_and_learned_tokens_are_known_without_reading_tokens() -> None:
    held = ExampleSet.of(HELD)
    assert held.lengths.tolist() == [5, 1, 7, 0]
    assert held.learned.tolist() == [item.learned for item in HELD]


def test_an_empty_set_can_be_written_and_opened(tmp_path: Path) -> None:
    Writer(tmp_path).close()
    assert len(ExampleSet.over(Pieces.open(tmp_path))) == 0


def test_several_parts_are_one_set() -> None:
    joined = ExampleSet.over(Pieces.of(HELD[:2]), Pieces.of(HELD[2:]))
    assert list(joined) == HELD
    assert joined.learned.tolist() == [item.learned for item in HELD]


def test_a_selection_has_the_chosen_examples_in_the_chosen_order() -> None:
    held = ExampleSet.of(HELD, "f")
    chosen = held.select([2, 0, 2])
    assert list(chosen) == [HELD[2], HELD[0], HELD[2]]
    assert chosen.lengths.tolist() == [7, 5, 7]
    assert chosen.fingerprint != held.select([0, 2, 2]).fingerprint
    assert chosen.fingerprint == held.select([2, 0, 2]).fingerprint


def test_a_pack_holds_its_examples_as_segments() -> None:
    packed = ExampleSet.of(HELD).select([1, 2, 0]).packed([[1, 0], [2]])
    assert packed[0].lengths == (3, 4, 1)
    assert packed[0].input_ids.tolist() == [*HELD[2].input_ids, *HELD[1].input_ids]
    assert packed[1] == HELD[0]
    assert packed.lengths.tolist() == [8, 5]
    assert packed.learned.tolist() == [HELD[2].learned + HELD[1].learned, HELD[0].learned]


def test_a_number_outside_the_set_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        ExampleSet.of(HELD)[4]
    assert ExampleSet.of(HELD)[-2] == HELD[2]
