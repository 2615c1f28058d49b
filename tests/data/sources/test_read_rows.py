"""Rows come out of files as they were written, and a broken one is named by file, line and column."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from hone.data.row import BadRow, Row
from hone.data.sources import files_at, read_rows
from hone.errors import DataError

ROWS = [{"text": "one"}, {"text": "zwei ✓"}, {"text": "三"}]


def read(folder: Path, name: str, content: bytes | str) -> list[Row | BadRow]:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(files_at(file)))


def values(rows: list[Row | BadRow]) -> list[Any]:
    return [row.value if isinstance(row, Row) else row.what for row in rows]


def lines(rows: list[dict[str, str]] = ROWS, end: str = "\n") -> str:
    return end.join(json.dumps(row, ensure_ascii=False) for row in rows) + end


LISTS = {
    "on one line": json.dumps(ROWS, ensure_ascii=False),
    "indented": json.dumps(ROWS, ensure_ascii=False, indent=2),
    "with a comma at the end": json.dumps(ROWS, ensure_ascii=False)[:-1] + ",]",
    "with a mark": "\ufeff" + json.dumps(ROWS, ensure_ascii=False),
    "with carriage returns": json.dumps(ROWS, ensure_ascii=False, indent=2).replace("\n", "\r\n"),
}
LINES = {
    "plain": lines(),
    "with a mark": "\ufeff" + lines(),
    "with carriage returns": lines(end="\r\n"),
    "with blank lines": "\n\n" + lines(end="\n\n \n"),
    "without the last line end": lines().rstrip("\n"),
}


@pytest.mark.parametrize("written", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_list_of_objects_is_read_however_it_is_laid_out(tmp_path: Path, name: str, written: str) -> None:
    assert values(read(tmp_path, name, written)) == ROWS


@pytest.mark.parametrize("written", LINES.values(), ids=LINES)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_lines_of_objects_are_read_however_they_end(tmp_path: Path, name: str, written: str) -> None:
    assert values(read(tmp_path, name, written)) == ROWS


def test_one_object_over_many_lines_is_one_row(tmp_path: Path) -> None:
    assert values(read(tmp_path, "a.json", json.dumps(ROWS[0], indent=2))) == [ROWS[0]]


def test_plain_text_is_one_row_a_line(tmp_path: Path) -> None:
    assert values(read(tmp_path, "a.txt", "one\n\nzwei ✓\r\n三")) == ROWS


def test_line_separators_and_nul_stay_inside_a_text(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\u0085d\x0be\u0000f"
    raw = json.dumps({"text": text}, ensure_ascii=False).replace("\\u0000", "\x00").replace("\\u000b", "\x0b")
    assert values(read(tmp_path, "a.jsonl", raw + "\n")) == [{"text": text}]
    assert values(read(tmp_path, "b.json", f"[{raw}]")) == [{"text": text}]


def test_nan_and_infinity_are_missing_values(tmp_path: Path) -> None:
    found = values(read(tmp_path, "a.jsonl", '{"a": NaN, "b": Infinity, "c": -Infinity, "d": 1}\n'))
    assert found == [{"a": None, "b": None, "c": None, "d": 1}]


@pytest.mark.parametrize("content", ["", "\n\n", "[]", "[ ]\n", "{}", "\ufeff"])
def test_files_without_rows_have_none(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, "a.json", content) == []


def test_a_broken_line_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    content = lines() + '{"text": "x" "y": 1}\n' + lines()
    rows = read(tmp_path, "data.jsonl", content)
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert [row.where for row in bad] == [f"{tmp_path / 'data.jsonl'}:4:14"]
    assert bad[0].text == '{"text": "x" "y": 1}'
    assert values([row for row in rows if isinstance(row, Row)]) == ROWS + ROWS


BROKEN = {
    "no comma between keys": '{"text": "x" "y": 1}',
    "no closing quote": '{"text": "x, "y": 1}',
    "no closing brace": '{"text": "x"',
    "a stray brace": '{"text": "x"}}',
    "single quotes": "{'text': 'x'}",
    "half a character": '{"text": "\\ud83d"}',
    "a comment": '{"text": "x"} // why',
    "python's None": '{"text": None}',
    "an endless number": '{"text": ' + "9" * 5000 + "}",
    "too deep": '{"text": ' + "[" * 100_000 + "}",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_broken_object_in_a_list_costs_one_row(tmp_path: Path, broken: str, indent: int | None) -> None:
    good = [json.dumps(row, ensure_ascii=False, indent=indent) for row in ROWS]
    rows = read(tmp_path, "a.json", "[\n" + ",\n".join([*good, broken, *good]) + "\n]\n")
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert len(bad) == 1
    assert values([row for row in rows if isinstance(row, Row)]) == ROWS + ROWS
    assert bad[0].line in (3 * good[0].count("\n") + 5, 3 * good[0].count("\n") + 6)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_line_costs_one_row(tmp_path: Path, broken: str) -> None:
    rows = read(tmp_path, "a.jsonl", lines() + broken + "\n" + lines())
    assert values([row for row in rows if isinstance(row, Row)]) == ROWS + ROWS
    assert [row.line for row in rows if isinstance(row, BadRow)] == [4]


def test_a_list_that_does_not_end_gives_its_rows_and_a_fault(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.json", json.dumps(ROWS)[:-1])
    assert values(rows)[:3] == ROWS
    assert isinstance(rows[-1], BadRow)


def test_a_list_larger_than_the_window_is_read_in_order_with_right_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_list", "_encoding"):
        monkeypatch.setattr(f"hone.data.sources.{module}.CHUNK", 64)
    many = [{"text": f"{number} " + "ß" * (number % 90)} for number in range(300)]
    rows = read(tmp_path, "a.json", json.dumps(many, ensure_ascii=False, indent=1))
    assert values(rows) == many
    assert [row.line for row in rows] == [2 + 3 * number for number in range(300)]
    assert [row.number for row in rows if isinstance(row, Row)] == list(range(1, 301))


@pytest.mark.parametrize(
    ("encoding", "guess"), [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("gb18030", "GB18030"), ("latin-1", "Latin")]
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt"])
def test_other_encodings_are_refused_with_the_offset_and_a_guess(
    tmp_path: Path, name: str, encoding: str, guess: str
) -> None:
    text = '[{"text": "abc"}, {"text": "déjà vu"}]' if encoding == "latin-1" else '[{"text": "这是一个数据集的例子"}]'
    with pytest.raises(DataError) as error:
        read(tmp_path, name, text.encode(encoding))
    said = str(error.value)
    assert error.value.exit_code == 3
    assert "DATA-ENCODING" in said
    assert guess in said
    bad = 0 if encoding == "utf-16" else None
    if encoding in ("gb18030", "latin-1"):
        bad = next(place for place, byte in enumerate(text.encode(encoding)) if byte > 127)
    assert bad is None or f"byte {bad}," in said


def test_an_ending_that_cannot_be_read_is_refused_with_those_that_can(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`.docx`.*json, jsonl"):
        read(tmp_path, "a.docx", "x")


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    folder = tmp_path / "part"
    folder.mkdir()
    for number, row in enumerate(ROWS):
        (folder / f"{number}.jsonl").write_text(json.dumps(row), "utf-8")
    assert values(list(read_rows(files_at(folder)))) == ROWS


def test_an_empty_folder_and_a_mixed_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 rows"):
        files_at(tmp_path)
    (tmp_path / "a.json").write_text("[]", "utf-8")
    (tmp_path / "b.txt").write_text("x", "utf-8")
    with pytest.raises(DataError, match="several kinds"):
        files_at(tmp_path)


@pytest.mark.parametrize(
    "written", [LISTS["on one line"], LISTS["indented"], LINES["plain"]], ids=["list", "indented", "lines"]
)
def test_files_changed_at_random_give_rows_or_faults_and_nothing_else(tmp_path: Path, written: str) -> None:
    chance = random.Random(1)
    for _ in range(200):
        content = bytearray(written.encode())
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(max(len(content), 1))
            choice = chance.choice(["change", "remove", "double", "cut"])
            if choice == "change" and content:
                content[place] = chance.choice(b'{}[]",:\\ \n\x00\xff0a')
            elif choice == "remove":
                del content[place : place + chance.randint(1, 9)]
            elif choice == "double":
                content[place:place] = content[place : place + chance.randint(1, 9)]
            else:
                content = content[: place + 1]
        try:
            rows = read(tmp_path, "a.json", bytes(content))
        except DataError as error:
            assert error.faults
        else:
            assert all(isinstance(row, Row | BadRow) for row in rows)


def test_a_first_line_that_is_a_list_costs_only_that_line(tmp_path: Path) -> None:
    for first in ("[]\n", "[1, 2]\n", "\n[]\n"):
        rows = read(tmp_path, "rows.jsonl", first + lines())
        assert isinstance(values(rows)[0], list)  # a row that no format takes; named there
        assert values(rows[1:]) == ROWS


def test_a_list_on_one_line_is_read_as_a_list_whatever_the_ending(tmp_path: Path) -> None:
    assert values(read(tmp_path, "rows.jsonl", json.dumps(ROWS, ensure_ascii=False) + "\n")) == ROWS
