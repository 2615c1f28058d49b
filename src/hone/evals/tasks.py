"""A set of questions of the user's own, described by a TOML file: where the rows lie, and what their keys mean."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from hone.errors import RecipeError


@dataclass(frozen=True)
class Task:
    """`kind`: "choice" is answered by the letter that the model finds likeliest, "likelihood" by the option that it
    finds likeliest as a whole (its log-probability, divided by its length unless `normalize` is "none"); "answer" is
    written by the model, and the last match of `pattern` in it must be that in the row's `answer` (without a pattern:
    all of it). `option` is how an option follows the prompt."""

    name: str
    kind: Literal["choice", "likelihood", "answer"]
    test: Path
    examples: Path | None = None
    subject: str = ""
    question: str = "question"
    answer: str = "answer"
    pattern: str = ""
    prompt: str = "{question}"
    option: str = " {option}"
    normalize: Literal["characters", "none"] = "characters"
    max_new_tokens: int = 256


def read_task(path: Path) -> Task:
    """The task of a file; its paths are reckoned from the file's folder. RecipeError for what cannot be understood."""
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        known = {each.name for each in fields(Task)}
        unknown = sorted(set(content) - known)
        if unknown:
            raise ValueError(f"no such key: {', '.join(unknown)}")
        if content.get("kind") not in ("choice", "likelihood", "answer"):
            raise ValueError('kind must be "choice", "likelihood" or "answer"')
        if content.get("normalize", "none") not in ("characters", "none"):
            raise ValueError('normalize must be "characters" or "none"')
        re.compile(content.get("pattern", ""))
        for key in ("test", "examples"):
            if key in content:
                content[key] = path.parent / content[key]
        task = Task(**{"name": path.stem, **content})
        for each in fields(Task):
            if each.name not in ("test", "examples", "max_new_tokens") and not isinstance(
                getattr(task, each.name), str
            ):
                raise ValueError(f"{each.name} must be text")
        if not isinstance(task.max_new_tokens, int) or task.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be a number from 1")
    except (OSError, ValueError, TypeError, re.error) as reason:
        raise RecipeError.one(
            "EVAL-TASK", f"cannot be understood ({reason})", str(path), "see docs/evaluation.md"
        ) from None
    return task


def found_answer(task: Task, text: str) -> str:
    """What counts of an answer: the last match of the pattern (its first group, if it has one), commas left out of
    numbers; "" where there is none."""
    if not task.pattern:
        return text.strip()
    matches = list(re.finditer(task.pattern, text))
    if not matches:
        return ""
    last = matches[-1]
    said = (last[1] if last.re.groups else last[0]) or ""
    return re.sub(r"(?<=\d),(?=\d)", "", said).strip()
