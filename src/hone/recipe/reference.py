"""The recipe's reference, made from the schema: a table for the terminal, a page for the docs, a JSON Schema."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator
from typing import Any

from hone.recipe.aliases import OLD
from hone.recipe.schema import SECTIONS, Key, Kind, all_keys
from hone.recipe.values import shown

_JSON_KINDS: dict[Kind, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]},
    "numbers": {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}, {"type": "number"}]},
    "dict": {"type": "object"},
    "null": {"type": "null"},
}


def terminal_help(verb: str, sections: Collection[str], *, width: int = 100) -> str:
    """Every key of these sections with type, default and help, as `hone VERB -h` prints it."""
    lines = [
        f"usage: hone {verb} recipe.yaml [name=value …]",
        f"       hone {verb} --name value …",
        "",
        "Switches may stand alone (--do_train), lists are separated by commas, mappings are written as JSON.",
    ]
    for section in sections:
        lines += ["", f"{section}: {_purpose(section)}"]
        for key in _keys(section):
            lines.append(f"  --{key.name} ({key.type_name}, default {shown(key.default)})")
            lines += textwrap.wrap(_told(key), width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The text of `docs/recipe.md`."""
    return "\n".join([*_opening(), *(line for section in SECTIONS for line in _table(section)), *_old_names()]) + "\n"


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a recipe file, for editors that complete and check."""
    current = {name: _property(key) for name, key in all_keys().items()}
    old = {name: {"deprecated": True, "description": _old(name)} for name in OLD}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hone recipe",
        "type": "object",
        "properties": current | old,
        "additionalProperties": False,
    }


def _keys(section: str) -> Iterator[Key]:
    return (key for key in all_keys().values() if key.section == section)


def _purpose(section: str) -> str:
    return (SECTIONS[section].__doc__ or "").strip().splitlines()[0]


def _told(key: Key) -> str:
    """Help, choices, range, and why the key is not honoured yet."""
    about = key.about
    told = [about.help]
    if about.choices:
        told.append(f"One of {', '.join(about.choices)}.")
    if about.limits:
        told.append(f"Must be {about.limits}.")
    if about.later:
        told.append(f"Cannot be set: {about.later}.")
    for reason in dict.fromkeys(about.later_values.values()):
        values = ", ".join(value for value, why in about.later_values.items() if why == reason)
        told.append(f"Not yet {values}: {reason}.")
    return " ".join(told)


def _opening() -> list[str]:
    return [
        "# Recipe reference",
        "",
        "Made by `hone docs docs/recipe.md` from the schema in `src/hone/recipe/schema`; do not edit.",
        "",
        "A recipe is a YAML or JSON file of flat keys. `hone train recipe.yaml lora_rank=16` overrides one of them;",
        "`hone train --stage sft --do_train …` does without a file. `hone check recipe.yaml` shows the settled recipe,",
        "`hone schema` prints a JSON Schema from which editors complete.",
        "",
    ]


def _table(section: str) -> list[str]:
    rows = [
        f"| `{key.name}` | {_cell(key.type_name)} | `{_cell(shown(key.default))}` | {_cell(_told(key))} |"
        for key in _keys(section)
    ]
    head = [f"## {section}", "", _purpose(section), "", "| key | type | default | meaning |", "|---|---|---|---|"]
    return [*head, *rows, ""]


def _old_names() -> list[str]:
    head = ["## Old names", "", "These still work, or say why they do not.", "", "| old | now |", "|---|---|"]
    return [*head, *(f"| `{name}` | {_cell(_old(name))} |" for name in OLD)]


def _old(name: str) -> str:
    old = OLD[name]
    if old.new:
        values = sorted({value for value in old.values.values() if value})
        return f"`{old.new}`" + (f": {', '.join(values)}" if values else "")
    return f"no longer a setting: {old.reason}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _property(key: Key) -> dict[str, Any]:
    kinds = [dict(_JSON_KINDS[kind]) for kind in key.kinds]
    for kind in kinds:
        if kind.get("type") == "string" and key.about.choices:
            kind["enum"] = list(key.about.choices)
        if kind.get("type") in ("number", "integer") and key.about.limits:
            kind |= _bounds(key)
    told: dict[str, Any] = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    default = list(key.default) if isinstance(key.default, tuple) else key.default
    return {**told, "description": _told(key), "default": default}


def _bounds(key: Key) -> dict[str, float]:
    limits = key.about.limits
    names = {"at_least": "minimum", "above": "exclusiveMinimum", "at_most": "maximum", "below": "exclusiveMaximum"}
    found = {word: getattr(limits, name) for name, word in names.items()}
    return {word: bound for word, bound in found.items() if bound is not None}
