"""A row longer than the limit: cut and counted, left out and counted, or refused with its number and length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from letters import LetterEncoder, MakeSets, Sft, alpaca

from hone.data.prepare import Prepared, prepare
from hone.errors import DataError
from hone.recipe import DataSection

ROWS = [alpaca("short", "yes"), alpaca("a question", "a" * 50), alpaca("short", "no"), alpaca("q", "b" * 60)]


def ready(folder: Path, **options: Any) -> Prepared:
    data = DataSection(dataset=("a",), dataset_dir=str(folder), cutoff_len=30, **options)
    return prepare(data, Sft(), LetterEncoder(), seed=7, cache_dir=folder.parent / "cache")


def test_long_rows_are_cut_unless_told_otherwise(make_sets: MakeSets) -> None:
    kept = ready(make_sets(a=ROWS)).report.train[0]
    assert (kept.kept, kept.cut, kept.dropped_rows) == (4, 2, 0)


def test_long_rows_are_left_out_and_counted(make_sets: MakeSets, capsys: Any) -> None:
    kept = ready(make_sets(a=ROWS), on_overflow="drop").report.train[0]
    assert (kept.kept, kept.cut, dict(kept.dropped)) == (2, 0, {"longer than cutoff_len": (2, 4)})
    assert "dropped 2 (longer than cutoff_len): row 2, 4" in capsys.readouterr().err


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_long_rows_end_the_run_with_their_places_and_lengths(make_sets: MakeSets, on_bad_row: Any) -> None:
    with pytest.raises(DataError) as error:
        ready(make_sets(a=ROWS), on_overflow="error", on_bad_row=on_bad_row)
    first, second = error.value.faults
    assert error.value.exit_code == 3
    assert (first.code, first.what) == ("DATA-LONG", "61 tokens, 31 beyond cutoff_len")
    assert first.where.endswith("a.jsonl:2 (row 2)")
    assert second.where.endswith("(row 4)")


def test_rows_within_the_limit_are_the_same_whatever_the_rule(make_sets: MakeSets) -> None:
    folder = make_sets(a=[ROWS[0], ROWS[2]])
    sets = [ready(folder, on_overflow=rule).train for rule in ("truncate", "drop", "error")]
    assert all(one is not None for one in sets)
    assert [example.input_ids.tolist() for example in sets[0]] == [  # type: ignore[union-attr]
        example.input_ids.tolist()
        for example in sets[2]  # type: ignore[union-attr]
    ]
