"""What is wrong with dataset_info.json is said with the set's name, the key and the nearest known name; all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hone.data.book import USUAL_COLUMNS, USUAL_TAGS, look_up
from hone.errors import DataError


def faults(book: Any, *names: str, folder: Path | None = None) -> list[str]:
    with pytest.raises(DataError) as error:
        look_up(names or ("a",), book if folder is None else folder)
    assert error.value.exit_code == 3
    return [str(fault) for fault in error.value.faults]


def test_a_plain_entry_has_the_usual_columns_and_tags() -> None:
    entry = look_up(["a"], {"a": {"file_name": "a.json"}})[0]
    assert (entry.columns, entry.tags, entry.formatting) == (USUAL_COLUMNS, USUAL_TAGS, "alpaca")


def test_given_columns_replace_all_of_the_usual_ones() -> None:
    entry = look_up(["a"], {"a": {"file_name": "a.json", "columns": {"prompt": "content", "response": "summary"}}})[0]
    assert (entry.columns.prompt, entry.columns.query) == ("content", None)


def test_an_unknown_name_comes_with_the_nearest_ones() -> None:
    (fault,) = faults({"identity": {}, "alpaca_en_demo": {}}, "identty")
    assert "DATA-NAME" in fault
    assert "did you mean `identity`?" in fault


def test_all_faults_are_said_at_once() -> None:
    book = {"a": {"file": "a.json"}, "b": {"file_name": "b.json", "ranking": "yes", "columns": {"promt": "x"}}}
    said = faults(book, "a", "b", "c")
    assert len(said) == 5
    assert any("`file`" in fault and "did you mean `file_name`" in fault for fault in said)
    assert any("`columns.promt`" in fault and "`prompt`" in fault for fault in said)
    assert any("`ranking` is not true or false" in fault for fault in said)


@pytest.mark.parametrize(
    "name", ["../x.json", "/etc/passwd", "a/../../x.json", "..\\x.json", "C:\\x.json", "\\\\host\\x.json", "\0"]
)
def test_a_file_outside_the_folder_is_refused(name: str) -> None:
    (fault,) = faults({"a": {"file_name": name}})
    assert "dataset_info.json: a" in fault
    assert "DATA-OUTSIDE" in fault or "\0" in name


@pytest.mark.parametrize("content", [["x"], "x", 5, None])
def test_an_entry_that_is_no_object_is_a_fault(content: Any) -> None:
    assert "not an object" in faults({"a": content})[0]


def test_an_entry_without_a_source_is_a_fault() -> None:
    assert "no `file_name`" in faults({"a": {"formatting": "alpaca"}})[0]


def test_scripts_are_refused_with_what_to_do_and_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(canary)!r}, 'w')", "utf-8")
    (tmp_path / "dataset_info.json").write_text('{"a": {"script_url": "evil"}}', "utf-8")
    (fault,) = faults(None, folder=tmp_path)
    assert "dataset scripts are not supported" in fault
    assert "JSON" in fault
    assert not canary.exists()


@pytest.mark.parametrize("content", [b"[1]", b"{", b'{"a": \xff}', b"[" * 100_000])
def test_a_book_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset_info.json").write_bytes(content)
    assert "dataset_info.json" in faults(None, folder=tmp_path)[0]


def test_a_missing_book_is_a_fault_only_if_a_set_is_wanted(tmp_path: Path) -> None:
    assert "no such file" in faults(None, folder=tmp_path)[0]
    assert look_up([], tmp_path) == ()


def test_a_mark_before_the_book_does_no_harm(tmp_path: Path) -> None:
    content = json.dumps({"数据": {"file_name": "数据.json"}}, ensure_ascii=False)
    (tmp_path / "dataset_info.json").write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert look_up(["数据"], tmp_path)[0].path == tmp_path / "数据.json"
