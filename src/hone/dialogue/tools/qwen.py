"""Qwen 2.5 and 3, and the many that follow them: JSON between <tool_call> words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import Text, ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found, closing
from hone.dialogue.tools._json import calls_in, dump, load, wrapped

WORDS = ("<tool_call>", "</tool_call>")
MARKS = WORDS[:1]
LEAD = ""

HEAD = (
    "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """One wrapped schema a line."""
    return own(HEAD), said("".join("\n" + dump(wrapped(tool)) for tool in tools)), own(TAIL)


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """One block for each call."""
    runs: list[Run] = []
    for call in calls:
        runs += [
            own("\n<tool_call>\n"),
            said(dump({"name": call.name, "arguments": call.arguments})),
            own("\n</tool_call>"),
        ]
    return (own("<tool_call>\n"), *runs[1:]) if runs else ()


def read(text: str) -> Found | None:
    """The calls that end the text; none if any block is no call."""
    found = closing(text, *WORDS)
    if found is None:
        return None
    before, inside = found
    calls = [call for block in inside for call in _one(block)]
    return [*([Text(before)] if before else []), *calls] if len(calls) == len(inside) else None


def _one(block: str) -> list[ToolCall]:
    value = load(block.strip())
    return [] if isinstance(value, list) else calls_in(value, "arguments") or []


def may_be_call(text: str) -> bool:
    """Never: a mark begins the calls."""
    return False
