"""Names filled into a set that has `{{name}}` and `{{author}}` where they belong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def fill(rows: Sequence[Mapping[str, Any]], name: str, author: str) -> list[dict[str, Any]]:
    """The rows with `name` and `author` put in, in every text of every row."""
    marks = {"{{name}}": name, "{{author}}": author}
    return [{key: _filled(value, marks) for key, value in row.items()} for row in rows]


def _filled(value: Any, marks: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        # One pass for each mark; a name that looks like the other mark is a name all the same.
        first, *rest = value.split("{{name}}")
        return marks["{{name}}"].join(part.replace("{{author}}", marks["{{author}}"]) for part in (first, *rest))
    if isinstance(value, list):
        return [_filled(item, marks) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, marks) for key, item in value.items()}
    return value
