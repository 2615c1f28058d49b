"""ChatGLM3 and GLM-4: tools under Chinese headings, one call as a name and a line of JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found
from hone.dialogue.tools._json import BROKEN, dump, function, load, named
from hone.errors import DataError

MARKS = ()
LEAD = ""

_HEAD = (
    "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱 AI 公司训练的语言模型 GLM-4 模型开发的，"
    "你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具"
)
_NOTE = "\n在调用上述函数时，请使用 Json 格式表示调用的参数。"
_BEGINNING = re.compile(r"[^\n{\[]{0,64}(\n\s*([{\[\"].*)?)?", re.DOTALL)


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """Each schema under its name."""
    runs = [own(_HEAD)]
    for schema in (function(tool) for tool in tools):
        runs += [own("\n\n## "), said(f"{named(schema, 'name')}\n\n{dump(schema, indent=4)}"), own(_NOTE)]
    return tuple(runs)


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """The name, a newline, the arguments. Raises `DataError` unless there is exactly one call."""
    if len(calls) != 1:
        raise DataError.one(
            "DATA-TOOLCALL", f"GLM-4 calls one function at a time, not {len(calls)}", fix="one call a message"
        )
    return (said(f"{calls[0].name}\n{dump(calls[0].arguments)}"),)


def read(text: str) -> Found | None:
    """The call if the text is a name and JSON after the first newline."""
    name, newline, rest = text.partition("\n")
    value = load(rest.strip()) if newline and name.strip() else BROKEN
    return None if value is BROKEN else [ToolCall(name.strip(), value)]


def may_be_call(text: str) -> bool:
    """Whether a text still being written could turn out to be a call."""
    return _BEGINNING.fullmatch(text) is not None
