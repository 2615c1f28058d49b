"""Streaming: the examples of the prepared way, in an order that the seed decides, mixed, packed, held out, endless."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from letters import FIRST_LETTER, LetterEncoder, MakeSets, Pt, Sft, alpaca

from hone.data.prepare import Prepared, prepare
from hone.data.stream import mixed, shuffled
from hone.dialogue.example import Example
from hone.errors import DataError, RecipeError
from hone.recipe import DataSection

A = [alpaca("a", letter) for letter in "bcdefgh"]
Z = [alpaca("z", letter) for letter in "yx"]


def ready(folder: Path, *names: str, stage: Any = None, **options: Any) -> Prepared:
    data = DataSection(dataset=names, dataset_dir=str(folder), **{"streaming": True, "buffer_size": 4, **options})
    return prepare(data, stage or Sft(), LetterEncoder(), seed=7, cache_dir=folder.parent / "cache")


def spelt(example: Example) -> str:
    return "".join("|" if token == 2 else chr(int(token) - FIRST_LETTER) for token in example.input_ids)


def first(prepared: Prepared, count: int) -> list[str]:
    assert prepared.stream is not None
    return [spelt(example) for example in islice(prepared.stream, count)]


def test_every_pass_has_all_the_examples_in_another_order(make_sets: MakeSets) -> None:
    folder = make_sets(a=A)
    seen = first(ready(folder, "a"), 14)
    plain = ready(folder, "a", streaming=False).train
    assert plain is not None
    assert Counter(seen[:7]) == Counter(seen[7:]) == Counter(spelt(example) for example in plain)
    assert seen[:7] != seen[7:]


def test_the_order_follows_from_the_seed_so_that_a_run_can_be_taken_up(make_sets: MakeSets) -> None:
    folder = make_sets(a=A)
    assert first(ready(folder, "a"), 20) == first(ready(folder, "a"), 20)


def test_what_is_kept_for_evaluation_is_never_trained_on(make_sets: MakeSets) -> None:
    prepared = ready(make_sets(a=A), "a", val_size=3)
    held = {spelt(example) for example in prepared.evals[""]}
    assert held == {"ab|", "ac|", "ad|"}
    assert not held & set(first(prepared, 30))


def test_each_evaluation_set_can_be_measured_by_itself(make_sets: MakeSets) -> None:
    prepared = ready(make_sets(a=A, b=Z, c=Z), "a", eval_dataset=("b", "c"), eval_on_each_dataset=True)
    assert {name: len(examples) for name, examples in prepared.evals.items()} == {"b": 2, "c": 2}


def test_packs_hold_whole_examples_each_its_own_segment(make_sets: MakeSets) -> None:
    prepared = ready(make_sets(a=A), "a", packing=True, cutoff_len=8)
    assert prepared.stream is not None
    packs = list(islice(prepared.stream, 4))
    assert sorted(pack.lengths for pack in packs) == [(3,), (3, 3), (3, 3), (3, 3)]


def test_texts_run_on_into_blocks(make_sets: MakeSets) -> None:
    texts = [{"text": "abcd"}, {"text": "efgh"}]
    prepared = ready(make_sets(a=texts), "a", stage=Pt(), packing=True, cutoff_len=5, buffer_size=1)
    assert first(prepared, 2) == ["abcd|", "efgh|"]


MIXES = {
    "concat": ("aaa", "zz", ["a0", "a1", "a2", "z0", "z1"]),
    "interleave_under": ("aaa", "zz", ["a0", "z0", "a1", "z1"]),
    "interleave_over": ("aaa", "zz", ["a0", "z0", "a1", "z1", "a2"]),
    "interleave_once": ("aaa", "zz", ["a0", "z0", "a1", "z1", "a2"]),
}


@pytest.mark.parametrize("strategy", MIXES)
def test_sets_take_turns(strategy: str) -> None:
    one, other, expected = MIXES[strategy]
    sets: list[Any] = [[f"{letter}{number}" for number, letter in enumerate(word)] for word in (one, other)]
    assert list(mixed(sets, strategy)) == expected


def test_shares_decide_how_often_a_set_comes() -> None:
    sets: list[Any] = [["a"] * 1000, ["z"] * 1000]
    counts = Counter(mixed(sets, "interleave_under", probabilities=(0.9, 0.1), seed=3))
    assert 0.05 < counts["z"] / sum(counts.values()) < 0.15
    assert Counter(mixed(sets, "interleave_once", probabilities=(0.9, 0.1), seed=3)) == {"a": 1000, "z": 1000}


def test_the_shuffle_holds_no_more_than_its_buffer() -> None:
    read: list[int] = []

    def source() -> Any:
        for number in range(100):
            read.append(number)
            yield number

    given: list[Any] = list(islice(shuffled(source(), 10, seed=1), 5))
    assert len(read) == 15
    assert len(set(given)) == 5


def test_a_broken_row_ends_the_stream_with_its_place_or_is_skipped(make_sets: MakeSets, capsys: Any) -> None:
    folder = make_sets(a=[*A, 5])
    with pytest.raises(DataError, match=r"a\.jsonl:8 \(row 8\)"):
        first(ready(folder, "a"), 1)
    assert len(first(ready(folder, "a", on_bad_row="skip"), 7)) == 7
    assert "skipped 1 broken rows of a" in capsys.readouterr().err


def test_a_set_without_a_usable_row_ends_the_run(make_sets: MakeSets) -> None:
    with pytest.raises(DataError, match="no row has tokens to train on"):
        first(ready(make_sets(a=[alpaca("a", "")]), "a"), 1)


def test_what_a_stream_cannot_do_is_refused(make_sets: MakeSets, monkeypatch: Any, tmp_path: Path) -> None:
    folder = make_sets(a=(A, {"num_samples": 3}), b=A)
    with pytest.raises(DataError, match="num_samples draws from all rows"):
        ready(folder, "a")
    with pytest.raises(RecipeError, match="a stream is never saved"):
        ready(folder, "b", tokenized_path=str(tmp_path / "t"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="several processes cannot share a stream"):
        ready(folder, "b")
