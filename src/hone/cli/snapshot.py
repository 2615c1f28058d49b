"""Make the snapshot of transformers' `Seq2SeqTrainingArguments`: names, kinds, defaults and choices, as JSON.

Run `python -m hone.cli.snapshot` after the tested version of transformers changed; a test holds the file to it.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "recipe" / "schema" / "training_arguments.json"

_SIMPLE = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}
_LISTS = ("report_to", "debug", "optim_target_modules")
"""Lists that the library also takes as one string; we read them as lists."""


def take() -> dict[str, dict[str, Any]]:
    """The fields of the installed library. Imports transformers."""
    from transformers import Seq2SeqTrainingArguments

    hints = typing.get_type_hints(Seq2SeqTrainingArguments)
    return {
        each.name: _entry(each, hints[each.name]) for each in dataclasses.fields(Seq2SeqTrainingArguments) if each.init
    }


def render() -> str:
    """The snapshot file's text, one field a line."""
    lines = (f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(take().items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _entry(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    kinds, choices = _kinds(hint)
    if field.name in _LISTS:
        kinds = [kind for kind in kinds if kind != "str"]
        kinds = kinds if "list" in kinds else ["list", *kinds]
    default = field.default_factory() if callable(field.default_factory) else field.default
    entry = {"kinds": kinds, "default": default.value if isinstance(default, enum.Enum) else default}
    return entry | ({"choices": choices} if choices else {})


def _kinds(hint: Any) -> tuple[list[str], list[str]]:
    """The kinds of value an annotation takes, in the order they are tried, and the values of an enumeration in it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = [_kinds(part) for part in parts]
        kinds = [kind for kind in ("dict", "list", "bool", "int", "float", "str", "null") if _any(found, kind)]
        return kinds, [choice for part in found for choice in part[1]]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return ["str"], [member.value for member in hint]
    if origin in (list, dict) or hint in (list, dict):
        return ["list" if list in (origin, hint) else "dict"], []
    return [_SIMPLE[hint]] if hint in _SIMPLE else [], []


def _any(found: list[tuple[list[str], list[str]]], kind: str) -> bool:
    return any(kind in kinds for kinds, _ in found)


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
