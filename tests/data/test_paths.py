"""A path given as a data set works without registration, and media are never left out in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from letters import END, FIRST_LETTER, LetterEncoder, MakeSets, Pairs, Pt, Sft, alpaca

from hone.data.book import look_up
from hone.data.prepare import Prepared, prepare
from hone.dialogue.example import IGNORED
from hone.errors import DataError
from hone.recipe import DataSection

ROWS = [alpaca("ab", "c"), alpaca("de", "f")]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return file


def ready(name: str, folder: Path, stage: Any = None, **options: Any) -> Prepared:
    data = DataSection(dataset=(name,), dataset_dir=str(folder), **options)
    return prepare(data, stage or Sft(), LetterEncoder(), seed=7, cache_dir=folder.parent / "cache")


def ids(prepared: Prepared) -> list[list[int]]:
    assert prepared.train is not None
    return [example.input_ids.tolist() for example in prepared.train]


EXPECTED = [[*(FIRST_LETTER + ord(letter) for letter in text), END] for text in ("abc", "def")]


def test_a_path_may_be_absolute_or_start_here_or_in_dataset_dir(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path / "sets" / "mine.jsonl", ROWS)
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "sets" / "mine.jsonl"), "sets/mine.jsonl", "mine.jsonl"):
        assert ids(ready(name, tmp_path / "sets")) == EXPECTED


def test_a_folder_is_a_path_too(tmp_path: Path) -> None:
    write(tmp_path / "sets" / "many" / "1.jsonl", ROWS[:1])
    write(tmp_path / "sets" / "many" / "2.jsonl", ROWS[1:])
    assert ids(ready(str(tmp_path / "sets" / "many"), tmp_path / "sets")) == EXPECTED


def test_the_book_comes_first(make_sets: MakeSets) -> None:
    folder = make_sets(a=ROWS)
    book = json.loads((folder / "dataset_info.json").read_text("utf-8"))
    write(folder / "other.jsonl", ROWS[:1])
    book["other.jsonl"] = {"file_name": "a.jsonl"}
    (folder / "dataset_info.json").write_text(json.dumps(book), "utf-8")
    assert ids(ready("other.jsonl", folder)) == EXPECTED


def test_a_path_that_is_not_there_says_where_was_looked(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "dataset_info.json").write_text("{}", "utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no file or folder `sub/none\.jsonl`.*looked in the book, in .*ONLINE"):
        look_up(["sub/none.jsonl"], tmp_path)


def test_a_registered_set_without_a_format_is_recognised(make_sets: MakeSets) -> None:
    chats = [{"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}]}]
    assert ids(ready("a", make_sets(a=chats))) == EXPECTED[:1]


def test_a_path_of_pairs_and_one_of_texts_go_to_their_stages(tmp_path: Path) -> None:
    pairs = write(tmp_path / "sets" / "pairs.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    texts = write(tmp_path / "sets" / "texts.jsonl", [{"text": "some words"}])
    assert ready(str(pairs), tmp_path / "sets", Pairs()).report.train[0].kept == 1
    assert ready(str(texts), tmp_path / "sets", Pt()).report.train[0].kept == 1
    with pytest.raises(DataError, match="no better and worse answer"):
        ready(str(texts), tmp_path / "sets", Pairs())


def test_an_unrecognised_row_is_named_with_what_was_looked_for(tmp_path: Path) -> None:
    file = write(tmp_path / "sets" / "mine.jsonl", [*ROWS, {"quest": "q"}])
    with pytest.raises(DataError, match=r"DATA-FORMAT.*`quest`; looked for .*mine\.jsonl:3 \(row 3\)"):
        ready(str(file), tmp_path / "sets")


@pytest.mark.parametrize("wish", [{"train": False}, {"weight": 0}])
def test_an_answer_that_asks_not_to_be_learned_is_not(tmp_path: Path, wish: dict[str, Any]) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", **wish},
             {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]  # fmt: skip
    prepared = ready(str(write(tmp_path / "sets" / "m.jsonl", [{"messages": turns}])), tmp_path / "sets")
    assert prepared.train is not None
    assert prepared.train[0].labels.tolist() == [IGNORED] * 4 + [FIRST_LETTER + ord("b"), END]


MEDIA = {
    "a column": {"instruction": "<image>q", "output": "a", "images": ["p.png"]},
    "a part": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "p.png"}}]},
                            {"role": "assistant", "content": "a"}]},
    "a sound": {"instruction": "<audio>q", "output": "a", "audios": "s.wav"},
}  # fmt: skip


@pytest.mark.parametrize("row", MEDIA.values(), ids=MEDIA)
def test_a_row_with_media_is_refused_and_never_trained_without_them(tmp_path: Path, row: dict[str, Any]) -> None:
    file = write(tmp_path / "sets" / "m.jsonl", [*ROWS, row])
    with pytest.raises(DataError, match=r"DATA-MEDIA.*cannot train on yet.*row 3"):
        ready(str(file), tmp_path / "sets")
    skipped = ready(str(file), tmp_path / "sets", on_bad_row="skip")
    assert (skipped.report.train[0].kept, skipped.report.train[0].bad) == (2, 1)
