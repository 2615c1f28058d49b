"""Qwen3-Coder and Qwen3.5: schemas as lines of JSON, calls as <function=…> with one <parameter=…> a value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found, around, innermost, members, stripped_value
from hone.dialogue.tools._json import arguments_of, dump, function, plain

MARKS = ("<tool_call>",)
LEAD = ""
NEXT = "\n"
"""What stands before every call but the first."""

_HEAD = "\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>"
_TAIL = (
    "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
    "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
    "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n"
    "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
    "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within "
    "<tool_call></tool_call> XML tags\n"
    "- Required parameters MUST be specified\n"
    "- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT "
    "after\n"
    "- If there is no function call available, answer the question like normal with your current knowledge and do not "
    "tell the user about function calls\n</IMPORTANT>"
)
_FUNCTION = re.compile(r"\s*<function=([^<>\n]{1,256})>")
_PARAMETER = re.compile(r"\s*<parameter=([^<>\n]{1,256})>")
_END = "</function>"


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """One bare schema a line."""
    return own(_HEAD), said("".join("\n" + dump(_schema(tool)) for tool in tools)), own(_TAIL)


def _schema(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return function(tool) if "function" in tool else tool


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """One block for each call."""
    runs: list[Run] = []
    for call in calls:
        runs += [own(f"{NEXT if runs else ''}<tool_call>\n<function="), said(call.name), own(">\n")]
        for name, value in arguments_of(call, "qwen3_5").items():
            runs += [own("<parameter="), said(name), own(">\n"), said(plain(value)), own("\n</parameter>\n")]
        runs.append(own("</function>\n</tool_call>"))
    return tuple(runs)


def read(text: str) -> Found | None:
    """Every whole call; values are JSON where they can be read as such. None if a block holds anything else."""
    calls = []
    for begin, end, inside in innermost(text, "<tool_call>", "</tool_call>"):
        opened = _FUNCTION.match(inside)
        body = inside[opened.end() :].rstrip() if opened else ""
        values = (
            members(body.removesuffix(_END), _PARAMETER, "</parameter>", stripped_value)
            if body.endswith(_END)
            else None
        )
        if opened is None or values is None:
            return None
        calls.append((begin, end, ToolCall(opened[1].strip(), values)))
    return around(text, calls)


def may_be_call(text: str) -> bool:
    """Never: a mark begins the calls."""
    return False
