"""Benchmarks as they lie in a folder: subjects with their questions and worked examples, and what each is called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hone.errors import DataError
from hone.evals.choice import Question
from hone.evals.questions import ENDINGS, read_questions
from hone.evals.subjects import group_of, name_of

GROUPS = ("STEM", "Social Sciences", "Humanities", "Other")
SHOTS = ("dev", "train")
"""Splits that hold worked examples, the better one first."""
SAME = {"val": "validation", "valid": "validation"}
"""Other names of splits."""
MAPPINGS = ("mapping.json", "subject_mapping.json")


@dataclass(frozen=True)
class Subject:
    """A subject: what it is called in prompts, its group, its questions, and examples with answers."""

    key: str
    name: str
    group: str
    questions: tuple[Question, ...]
    examples: tuple[Question, ...]
    left_out: int = 0
    """Questions without a right answer among the options."""


def read_subjects(folder: Path, split: str) -> list[Subject]:
    """All subjects of a benchmark's folder that have this split, by name.

    A file belongs to a split by its folder (`dev/anatomy.csv`), its ending (`anatomy_dev.csv`) or its name
    (`anatomy/dev-00000-of-00001.jsonl`). `mapping.json` (or C-Eval's `subject_mapping.json`) tells names and groups;
    those of MMLU and CMMLU are known. DataError where the folder or the split is missing.
    """
    files = _files(folder)
    wanted = SAME.get(split, split)
    known = sorted({found for found, _ in files})
    if wanted not in known:
        what = f"no questions of the split {split} (there are: {', '.join(known) or 'none'})"
        fix = "put the published files there (docs/evaluation.md says where they are had), or set task_dir"
        raise DataError.one("EVAL-TASK", what, str(folder), fix)
    told = _mapping(folder)
    shots = next((name for name in SHOTS if name in known and name != wanted), "")
    found = []
    for key in sorted(subject for name, subject in files if name == wanted):
        questions = tuple(read_questions(files[wanted, key]))
        asked = tuple(one for one in questions if one.answer in one.options and one.options)
        examples = read_questions(files[shots, key]) if (shots, key) in files else ()
        name, group = told.get(key, (name_of(folder.name, key), group_of(folder.name, key)))
        worked = tuple(one for one in examples if one.answer in one.options)
        found.append(Subject(key, name, group, asked, worked, len(questions) - len(asked)))
    return found


def accuracies(right: Mapping[str, Sequence[bool]], groups: Mapping[str, str]) -> dict[str, Sequence[bool]]:
    """The answers of each group that has any, `Average` (all) first."""
    parts: dict[str, list[bool]] = {name: [] for name in ("Average", *GROUPS)}
    for subject, values in right.items():
        for part in ("Average", groups.get(subject, "Other")):
            parts[part].extend(values)
    return {name: values for name, values in parts.items() if values}


def report(parts: Mapping[str, Sequence[bool]]) -> str:
    """One line a group, as the field's tools print it."""
    return "\n".join(f"{name:>15}: {100 * sum(values) / len(values):.2f}" for name, values in parts.items())


def _files(folder: Path) -> dict[tuple[str, str], Path]:
    """Files of questions by split and subject."""
    found: dict[tuple[str, str], Path] = {}
    paths = folder.rglob("*") if folder.is_dir() else ()
    for path in sorted(paths):
        if path.suffix.lower() not in ENDINGS or path.name in MAPPINGS or not path.is_file():
            continue
        place = _place(path, folder)
        if place is not None:
            found.setdefault(place, path)
    return found


def _place(path: Path, folder: Path) -> tuple[str, str] | None:
    splits = "test|dev|train|validation|valid|val"
    ending = re.fullmatch(rf"(.+)_({splits})", path.stem)
    if ending:
        return SAME.get(ending[2], ending[2]), ending[1]
    parent = path.parent.name if path.parent != folder else ""
    if re.fullmatch(splits, parent):
        return SAME.get(parent, parent), path.stem
    cut = re.fullmatch(rf"({splits})(?:-\d+-of-\d+)?", path.stem)
    if cut:
        return SAME.get(cut[1], cut[1]), parent or folder.name
    return None


def _mapping(folder: Path) -> dict[str, tuple[str, str]]:
    path = next((folder / name for name in MAPPINGS if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text("utf-8-sig"))
        return {key: _told(key, value) for key, value in content.items()}
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as reason:
        fix = '{"subject": {"name": "…", "category": "STEM"}}'
        raise DataError.one("EVAL-MAPPING", f"cannot be read ({reason!r})", str(path), fix) from None


def _told(key: str, value: object) -> tuple[str, str]:
    """`{"name", "category"}`, or C-Eval's list of English name, Chinese name and group."""
    if isinstance(value, dict):
        name, group = str(value.get("name") or key.replace("_", " ")), str(value.get("category") or "Other")
    elif isinstance(value, list):
        name, group = str(value[1]), str(value[2])
    else:
        raise TypeError(key)
    group = {"Social Science": "Social Sciences"}.get(group, group)
    return name, group if group in GROUPS else "Other"
