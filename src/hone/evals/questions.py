"""Benchmark questions out of local files: MMLU, C-Eval and CMMLU as they are published, or rows of JSON.

MMLU's tables have no heading (question, options, answer); those of C-Eval (`question,A,B,C,D,answer`) and CMMLU
(`Question,A,B,C,D,Answer`) have one. A row of JSON has `question` with `A` … `D` or a list of `choices`, and `answer`
as a letter or a number from 0. ARC (`choices` with labels, `answerKey`) and HellaSwag (`ctx`, `endings`, `label`) are
known as they are.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hone.errors import DataError
from hone.evals.choice import LETTERS, MORE_LETTERS, Question

ENDINGS = (".csv", ".jsonl", ".json")
ASKED = ("question", "query", "problem", "prompt", "input", "ctx")
OFFERED = ("choices", "options", "endings")
RIGHT = ("answer", "answerKey", "label")
FIX = "name a csv, json or jsonl file of questions, or a folder of those"
LONGEST_CELL = 1 << 24


def read_questions(path: Path) -> Iterator[Question]:
    """The questions of a file, or of all files below a folder. DataError where there are none or they are no such."""
    found = False
    for file in files_at(path):
        try:
            for question in _questions(file):
                found = True
                yield question
        except (OSError, ValueError, csv.Error, RecursionError) as fault:
            raise DataError.one("DATA-QUESTIONS", f"cannot be read ({fault})", str(file), FIX) from None
    if not found:
        raise DataError.one("DATA-QUESTIONS", "no questions found", str(path), FIX)


def files_at(path: Path) -> list[Path]:
    """The file, or the files of questions below the folder, sorted."""
    if path.is_file():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    if not files:
        raise DataError.one("DATA-QUESTIONS", "no such file, or no files of questions in it", str(path), FIX)
    return files


def _questions(file: Path) -> Iterator[Question]:
    rows = _table(file) if file.suffix.lower() == ".csv" else _objects(file)
    for row in rows:
        question = _question(row)
        if question is not None:
            yield question


def _table(file: Path) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(LONGEST_CELL)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        first = next(reader, None)
        if first is None:
            return
        heading = [name.strip().lower() for name in first]
        if "question" in heading:
            names: Sequence[str] = [name.upper() if len(name) == 1 else name for name in heading]
        else:
            names = ("question", *LETTERS, "answer")
            yield dict(zip(names, first, strict=False))
        for row in reader:
            yield dict(zip(names, row, strict=False))


def _objects(file: Path) -> Iterator[Mapping[str, Any]]:
    with file.open(encoding="utf-8-sig") as stream:
        if file.suffix.lower() == ".jsonl":
            rows = (json.loads(line) for line in stream if line.strip())
            yield from (row for row in rows if isinstance(row, dict))
            return
        whole = json.load(stream)
    yield from (row for row in (whole if isinstance(whole, list) else [whole]) if isinstance(row, dict))


def _question(row: Mapping[str, Any]) -> Question | None:
    """The row as a question, if it is one."""
    asked = next((row[key] for key in (*ASKED, "Question") if isinstance(row.get(key), str) and row[key].strip()), None)
    if asked is None:
        return None
    offered: Any = next((row[key] for key in OFFERED if key in row), None)
    labels: object = None
    if isinstance(offered, dict):  # as datasets of the hub hold them: {"label": […], "text": […]}
        offered, labels = offered.get("text"), offered.get("label")
    letters: Sequence[str] = LETTERS
    if isinstance(offered, list):
        letters = MORE_LETTERS
        row = {**dict.fromkeys(letters), **row, **dict(zip(letters, offered, strict=False))}
    answer = next((row[key] for key in RIGHT if row.get(key) is not None), None)
    return Question.of({**row, "question": asked, "answer": _letter(answer, labels)}, letters)


def _letter(answer: object, labels: object) -> object:
    """The letter of the right option: by the labels that the row gives its options, else by a number from 0."""
    if isinstance(labels, list) and answer in labels[: len(MORE_LETTERS)]:
        return MORE_LETTERS[labels.index(answer)]
    if isinstance(answer, str) and answer.isdecimal():
        answer = int(answer)
    return MORE_LETTERS[answer] if isinstance(answer, int) and 0 <= answer < len(MORE_LETTERS) else answer
