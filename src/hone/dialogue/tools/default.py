"""The dialect of families without one of their own: tools in plain words, calls as `Action:` and `Action Input:`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found, around
from hone.dialogue.tools._json import BROKEN, dump, function, load, named

MARKS = ("Action:",)
LEAD = ""

_HEAD = "You have access to the following tools:\n"
_FORM = (
    "Use the following format if using a tool:\n```\nAction: tool name (one of [{names}])\nAction Input: the input "
    'to the tool, in a JSON format representing the kwargs (e.g. ```{"input": "hello world", "num_beams": 5}```)\n```\n'
)
_CALL = re.compile(r"Action:\s*([a-zA-Z0-9_]+?)\s*Action Input:")


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """Each tool with its arguments, then the form of a call."""
    schemas = [function(tool) for tool in tools]
    listed = "".join(_tool(schema) for schema in schemas)
    before, after = _FORM.split("{names}")
    names = ", ".join(str(named(schema, "name")) for schema in schemas)
    return own(_HEAD), said(listed), own(before), said(names), own(after)


def _tool(schema: Mapping[str, Any]) -> str:
    parameters = named(schema, "parameters")
    required = parameters.get("required") or []
    properties = named(parameters, "properties")
    lines = "".join(_argument(name, field, name in required) for name, field in properties.items())
    name, description = named(schema, "name"), schema.get("description", "")
    return f"> Tool Name: {name}\nTool Description: {description}\nTool Args:\n{lines}\n"


def _argument(name: str, field: Mapping[str, Any], required: bool) -> str:
    line = f"  - {name} ({field.get('type', '')}{', required' if required else ''}): {field.get('description', '')}"
    if field.get("enum"):
        line += f", should be one of [{', '.join(str(value) for value in field['enum'])}]"
    if field.get("items"):
        line += f", where each item should be {field['items'].get('type', '')}"
    return line + "\n"


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """One pair of lines for each call."""
    return (said("\n".join(f"Action: {call.name}\nAction Input: {dump(call.arguments)}" for call in calls)),)


def read(text: str) -> Found | None:
    """All calls, or none if the input of any is no JSON. Quotes and fences around it are forgiven."""
    heads = list(_CALL.finditer(text))
    calls = []
    for place, head in enumerate(heads):
        end = heads[place + 1].start() if place + 1 < len(heads) else len(text)
        value = load(text[head.end() : end].strip().strip('"').strip("`"))
        if value is BROKEN:
            return None
        calls.append((head.start(), end, ToolCall(head[1], value)))
    return around(text, calls)


def may_be_call(text: str) -> bool:
    """Never: a mark begins the calls."""
    return False
