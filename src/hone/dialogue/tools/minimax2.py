"""MiniMax-M2: schemas in <tool> words, calls in <invoke> words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found, around, innermost, members, stripped_value
from hone.dialogue.tools._json import arguments_of, dump, function, plain

MARKS = ("<minimax:tool_call>",)
LEAD = ""

_HEAD = (
    "\n\n# Tools\n\nYou may call one or more tools to assist with the user query.\n"
    "Here are the tools available in JSONSchema format:\n\n<tools>\n"
)
_TAIL = (
    "</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass parameters:\n\n<minimax:tool_call>\n"
    '<invoke name="tool-name-1">\n<parameter name="param-key-1">param-value-1</parameter>\n'
    '<parameter name="param-key-2">param-value-2</parameter>\n...\n</invoke>\n</minimax:tool_call>'
)
_INVOKE = re.compile(r'\s*<invoke name="([^"]*)">')
_PARAMETER = re.compile(r'\s*<parameter name="([^"]*)">')


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """One bare schema a line."""
    listed = [run for tool in tools for run in (own("<tool>"), said(dump(function(tool))), own("</tool>\n"))]
    return own(_HEAD), *listed, own(_TAIL)


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """One <invoke> for each call, all in one block, as the family's own prompt shows it."""
    if not calls:
        return ()
    return own("<minimax:tool_call>\n"), *(run for call in calls for run in _invoke(call)), own("</minimax:tool_call>")


def _invoke(call: ToolCall) -> Iterator[Run]:
    yield from (own('<invoke name="'), said(call.name), own('">\n'))
    for name, value in arguments_of(call, "minimax2").items():
        yield from (own('<parameter name="'), said(name), own('">'), said(plain(value)), own("</parameter>\n"))
    yield own("</invoke>\n")


def read(text: str) -> Found | None:
    """The calls in the family's blocks; None if a block holds anything else."""
    calls: list[tuple[int, int, ToolCall]] = []
    for begin, end, inside in innermost(text, "<minimax:tool_call>", "</minimax:tool_call>"):
        made = _calls(inside)
        if not made:
            return None
        calls += [(begin, end, made[0]), *((end, end, call) for call in made[1:])]
    return around(text, calls)


def _calls(inside: str) -> list[ToolCall]:
    """The <invoke> blocks, in order; none if anything else is there."""
    made: list[ToolCall] = []
    place = 0
    while inside[place:].strip():
        opened = _INVOKE.match(inside, place)
        close = inside.find("</invoke>", opened.end()) if opened else -1
        values = members(inside[opened.end() : close], _PARAMETER, "</parameter>", stripped_value) if opened else None
        if opened is None or close < 0 or values is None:
            return []
        made.append(ToolCall(opened[1], values))
        place = close + len("</invoke>")
    return made


def may_be_call(text: str) -> bool:
    """Never: a mark begins the calls."""
    return False
