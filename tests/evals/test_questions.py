"""Benchmark questions are read as their makers publish them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hone.errors import DataError
from hone.evals.choice import Question
from hone.evals.questions import read_questions

ASKED = Question("Which one, if any?", {"A": "a, b", "B": "b", "C": "c", "D": "d"}, "B")
MMLU = '"Which one, if any?","a, b",b,c,d,B\n'
CEVAL = '\ufeffid,question,A,B,C,D,answer,explanation\n0,"Which one, if any?","a, b",b,c,d,B,so it is\n'
CMMLU = ',Question,A,B,C,D,Answer\n0,"Which one, if any?","a, b",b,c,d,B\n'
HUB = json.dumps({"question": ASKED.text, "choices": ["a, b", "b", "c", "d"], "answer": 1, "subject": "x"}) + "\n\n"


@pytest.mark.parametrize(
    ("name", "content"), [("mmlu.csv", MMLU), ("ceval.csv", CEVAL), ("cmmlu.csv", CMMLU), ("hub.jsonl", HUB)]
)
def test_each_published_layout_is_known(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert list(read_questions(tmp_path / name)) == [ASKED]


ARC = {"question": "?", "choices": {"text": ["a", "b", "c"], "label": ["1", "2", "3"]}, "answerKey": "2"}
SWAG = {"ctx": "?", "endings": ["a", "b", "c"], "label": "1", "ind": 4}
TEN = {"question": "?", "options": list("abcdefghij"), "answer": "J"}


@pytest.mark.parametrize(("row", "right", "count"), [(ARC, "B", 3), (SWAG, "B", 3), (TEN, "J", 10)])
def test_arc_hellaswag_and_sets_with_many_options(tmp_path: Path, row: dict, right: str, count: int) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (question,) = read_questions(tmp_path / "rows.jsonl")
    assert (question.text, question.answer, len(question.options)) == ("?", right, count)


def test_a_folder_is_all_its_files(tmp_path: Path) -> None:
    for part in ("dev", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"law_{part}.csv").write_text(MMLU, encoding="utf-8")
    (tmp_path / "README.md").write_text("not a question")
    assert list(read_questions(tmp_path)) == [ASKED, ASKED]


@pytest.mark.parametrize("content", [b"", b"{", b"[[[[", b"\xff\xfe", b'{"other": 1}\n'])
def test_what_holds_no_questions_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"DATA-QUESTIONS|questions|read"):
        list(read_questions(file))
    with pytest.raises(DataError):
        list(read_questions(tmp_path / "nothing"))
