"""GLM-4.5 and later: schemas as lines of JSON, calls as <arg_key> and <arg_value> pairs between <tool_call> words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import Text, ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools import qwen
from hone.dialogue.tools._blocks import Found, closing, members, stripped_value
from hone.dialogue.tools._json import arguments_of, dump, plain, wrapped

MARKS = ("<tool_call>",)
LEAD = "\n"

_TAIL = (
    "\n</tools>\n\nFor each function call, output the function name and arguments within the following XML format:\n"
    "<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}</arg_value>\n"
    "<arg_key>{arg-key-2}</arg_key>\n<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>\n"
)
_PAIR = re.compile(r"\s*<arg_key>([^<>\n]{1,256})</arg_key>\s*<arg_value>")


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """One wrapped schema a line."""
    return own(qwen.HEAD), said("".join("\n" + dump(wrapped(tool)) for tool in tools)), own(_TAIL)


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """One block for each call, closed as the vendor closes it."""
    runs: list[Run] = []
    for call in calls:
        runs += [own("\n<tool_call>"), said(call.name)]
        for key, value in arguments_of(call, "glm4_moe").items():
            runs += [
                own("\n<arg_key>"),
                said(key),
                own("</arg_key>\n<arg_value>"),
                said(plain(value)),
                own("</arg_value>"),
            ]
        runs.append(own("\n</tool_call>"))
    return tuple(runs)


def read(text: str) -> Found | None:
    """The calls that end the text, in the family's own form or as JSON."""
    found = closing(text, *qwen.WORDS)
    if found is None:
        return None
    before, inside = found
    calls = [call for block in inside if (call := _call(block))]
    return [*([Text(before)] if before else []), *calls] if len(calls) == len(inside) else qwen.read(text)


def _call(block: str) -> ToolCall | None:
    name = block.partition("<arg_key>")[0]
    values = members(block[len(name) :], _PAIR, "</arg_value>", stripped_value)
    plausible = name.strip() and not re.search(r"[\s<>{\[\"]", name.strip())
    return ToolCall(name.strip(), values) if plausible and values is not None else None


def may_be_call(text: str) -> bool:
    """Never: a mark begins the calls."""
    return False
