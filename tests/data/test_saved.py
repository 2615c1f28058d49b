"""`tokenized_path`: saved once, taken again where nothing changed, refused by name where something did."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from letters import LetterEncoder, MakeSets, Sft, alpaca

from hone.data.prepare import Prepared, prepare
from hone.data.saved import MANIFEST
from hone.errors import DataError
from hone.recipe import DataSection

ROWS = [alpaca(f"question {number}", f"answer {number}") for number in range(20)]


def ready(folder: Path, *, encoder: Any = None, seed: int = 7, **options: Any) -> Prepared:
    where = str(folder.parent / "tokens")
    data = DataSection(dataset=("a",), dataset_dir=str(folder), tokenized_path=where, **options)
    stage: Any = Sft()
    return prepare(data, stage, encoder or LetterEncoder(), seed=seed, cache_dir=folder.parent / "cache")


def same(one: Prepared, other: Prepared) -> bool:
    assert one.train is not None and other.train is not None
    evals = {name: list(examples) for name, examples in one.evals.items()}
    return list(one.train) == list(other.train) and evals == {name: list(two) for name, two in other.evals.items()}


@pytest.mark.parametrize("options", [{}, {"packing": True, "cutoff_len": 64}, {"val_size": 5}])
def test_what_was_saved_is_taken_again_without_the_data(
    make_sets: MakeSets, options: dict[str, Any], capsys: Any
) -> None:
    folder = make_sets(a=ROWS)
    first = ready(folder, **options)
    shutil.rmtree(folder.parent / "cache")
    (folder / "a.jsonl").unlink()
    again = ready(folder, **options)
    assert same(first, again)
    assert again.report.train[0].rows == 20
    assert "taken from" in capsys.readouterr().err


CHANGES: dict[str, dict[str, Any]] = {
    "another cutoff_len": {"cutoff_len": 64},
    "another template or tokenizer": {"encoder": LetterEncoder("other")},
    "another seed": {"seed": 8},
    "another packing": {"packing": True},
}


@pytest.mark.parametrize(("what", "change"), CHANGES.items(), ids=CHANGES)
def test_what_was_made_otherwise_is_refused_by_name(make_sets: MakeSets, what: str, change: dict[str, Any]) -> None:
    folder = make_sets(a=ROWS)
    ready(folder)
    with pytest.raises(DataError, match=f"DATA-TOKENIZED.*was made with {what}") as raised:
        ready(folder, **change)
    assert raised.value.exit_code == 3
    assert len(raised.value.faults) == 1


def test_other_rows_are_refused(make_sets: MakeSets) -> None:
    ready(make_sets(a=ROWS))
    with pytest.raises(DataError, match="was made from other rows"):
        ready(make_sets(a=ROWS[:19]))


def test_a_half_written_folder_is_made_anew(make_sets: MakeSets, capsys: Any) -> None:
    folder = make_sets(a=ROWS)
    first = ready(folder)
    file = folder.parent / "tokens" / "train" / "input_ids.bin"
    file.write_bytes(file.read_bytes()[:40])
    assert same(first, ready(folder))
    assert "damaged, made anew" in capsys.readouterr().err


def test_what_a_killed_run_left_behind_is_not_taken(make_sets: MakeSets) -> None:
    folder = make_sets(a=ROWS)
    (folder.parent / "tokens.tmp-12345678").mkdir()
    ready(folder)
    assert (folder.parent / "tokens" / MANIFEST).is_file()
    assert not list(folder.parent.glob("tokens.tmp-*"))


def test_a_folder_of_something_else_is_left_alone(make_sets: MakeSets) -> None:
    folder = make_sets(a=ROWS)
    (folder.parent / "tokens").mkdir()
    (folder.parent / "tokens" / "thesis.txt").write_text("mine", "utf-8")
    with pytest.raises(DataError, match="holds no data that Hone has prepared"):
        ready(folder)
    assert (folder.parent / "tokens" / "thesis.txt").exists()
