"""Seed-OSS: the schemas as one JSON list, calls as <function=…> between the family's words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found, around, innermost, members
from hone.dialogue.tools._json import arguments_of, dump, load_or_text, plain

MARKS = ("<seed:tool_call>",)
LEAD = "\n"
NEXT = "\n"
"""What stands before every call but the first, besides."""

_HEAD = (
    "system\nYou are Doubao, a helpful AI assistant. You may call one or more functions to assist with the user query."
    "Tool List:\nYou are authorized to use the following tools (described in JSON Schema format). Before performing "
    "any task, you must decide how to call them based on the descriptions and parameters of these tools.\n"
)
_TAIL = (
    "\n工具调用请遵循如下格式:\n<seed:tool_call>\n<function=example_function_name>\n"
    "<parameter=example_parameter_1>value_1</parameter>\n"
    "<parameter=example_parameter_2>This is the value for the second parameter\nthat can span\nmultiple lines"
    "</parameter>\n</function>\n</seed:tool_call>\n"
)
_FUNCTION = re.compile(r"\s*<function=([^<>\n]{1,256})>?")
_PARAMETER = re.compile(r"\s*<parameter=([^<>\n]{1,256})>")
_END = "</function>"


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """The list as it was given."""
    return own(_HEAD), said(dump(list(tools))), own(_TAIL)


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """One block for each call, the function's word closed as the family's own prompt shows it."""
    runs: list[Run] = []
    for call in calls:
        runs += [own(f"{NEXT if runs else ''}\n<seed:tool_call>\n<function="), said(call.name), own(">\n")]
        for name, value in arguments_of(call, "seed_oss").items():
            runs += [own("<parameter="), said(name), own(">"), said(plain(value)), own("</parameter>\n")]
        runs.append(own("</function>\n</seed:tool_call>"))
    return tuple(runs)


def read(text: str) -> Found | None:
    """Every whole call; values are JSON where they can be read as such. None if a block holds anything else."""
    calls = []
    for begin, end, inside in innermost(text, "<seed:tool_call>", "</seed:tool_call>"):
        opened = _FUNCTION.match(inside)
        body = inside[opened.end() :].rstrip() if opened else ""
        values = (
            members(body.removesuffix(_END), _PARAMETER, "</parameter>", load_or_text) if body.endswith(_END) else None
        )
        if opened is None or values is None:
            return None
        calls.append((begin, end, ToolCall(opened[1].strip(), values)))
    return around(text, calls)


def may_be_call(text: str) -> bool:
    """Never: a mark begins the calls."""
    return False
