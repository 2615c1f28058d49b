"""MiniMax-Text-01 and M1: schemas and calls as lines of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import Text, ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found
from hone.dialogue.tools._json import calls_in, dump, function, load

MARKS = ("<tool_calls>",)
LEAD = ""

_HEAD = "You are provided with these tools:\n<tools>"
_TAIL = (
    "\n</tools>\n\nIf you need to call tools, please respond with <tool_calls></tool_calls> XML tags, and provide "
    'tool-name and json-object of arguments, following the format below:\n<tool_calls>\n{"name": <tool-name-1>, '
    '"arguments": <args-json-object-1>}\n...\n</tool_calls>'
)


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """One bare schema a line."""
    return own(_HEAD), said("".join("\n" + dump(function(tool)) for tool in tools)), own(_TAIL)


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """All calls in one block, a line each."""
    lines = "\n".join(dump({"name": call.name, "arguments": call.arguments}) for call in calls)
    return own("<tool_calls>\n"), said(lines), own("\n</tool_calls>")


def read(text: str) -> Found | None:
    """The lines of the first block that are calls; lines that are none stay text."""
    before, start, rest = text.partition("<tool_calls>")
    inside, end, after = rest.partition("</tool_calls>")
    lines = [line for line in inside.split("\n") if line.strip()] if start and end else []
    found: Found = []
    for line in lines:
        found += calls_in(load(line), "arguments") or [Text(line)]
    if not any(isinstance(part, ToolCall) for part in found):
        return None
    return [*([Text(before)] if before else []), *found, *([Text(after)] if after.strip() else [])]


def may_be_call(text: str) -> bool:
    """Never: a mark begins the calls."""
    return False
