"""JSON as tool dialects need it: written with spaces and plain letters, read without ever raising."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hone.dialogue.message import ToolCall
from hone.errors import DataError

BROKEN = object()
"""What `load` gives for text that is no JSON; None is a JSON value."""


def dump(value: Any, *, indent: int | None = None) -> str:
    """JSON text, letters as they are."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def plain(value: Any) -> str:
    """A string as it is, anything else as JSON."""
    return value if isinstance(value, str) else dump(value)


def load(text: str) -> Any:
    """The value, or `BROKEN`: bad JSON and absurdly deep nesting alike."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return BROKEN


def load_or_text(text: str) -> Any:
    """The JSON value that the text is, or else the text."""
    value = load(text)
    return text if value is BROKEN else value


def function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function's own schema, whether or not it is wrapped as `{"type": "function", "function": …}`."""
    inner = tool.get("function")
    if isinstance(inner, Mapping):
        return inner
    return {key: value for key, value in tool.items() if key != "type"} if tool.get("type") == "function" else tool


def wrapped(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tool wrapped as `{"type": "function", "function": …}`; one that says its type already is kept as it is."""
    return tool if tool.get("type") == "function" else {"type": "function", "function": tool}


def named(tool: Mapping[str, Any], key: str) -> Any:
    """A field that the dialect cannot do without. Raises `DataError` where it is missing."""
    if key not in tool:
        raise DataError.one("DATA-TOOLS", f"a tool without `{key}`", dump(tool)[:80], f"give every tool a `{key}`")
    return tool[key]


def arguments_of(call: ToolCall, dialect: str) -> Mapping[str, Any]:
    """The arguments as an object, for dialects that write them one by one."""
    if isinstance(call.arguments, Mapping):
        return call.arguments
    what = f"the arguments of {call.name} are no JSON object, which the tool dialect {dialect} cannot write"
    raise DataError.one("DATA-TOOLCALL", what, fix="write them as {…}")


def calls_in(value: Any, key: str) -> list[ToolCall] | None:
    """The calls in a JSON object or list of objects with `name` and `key`; None if it is anything else."""
    entries = value if isinstance(value, list) else [value]
    if not entries or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and key in one for one in entries
    ):
        return None
    return [ToolCall(one["name"], one[key]) for one in entries]
