"""Mistral: the tools between [AVAILABLE_TOOLS] words, calls as one JSON list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found
from hone.dialogue.tools._json import calls_in, dump, load, wrapped

MARKS = ()
LEAD = ""


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """All wrapped schemas as one JSON list."""
    return own("[AVAILABLE_TOOLS] "), said(dump([wrapped(tool) for tool in tools])), own("[/AVAILABLE_TOOLS]")


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """A JSON list of name and arguments."""
    return (said(dump([{"name": call.name, "arguments": call.arguments} for call in calls])),)


def read(text: str) -> Found | None:
    """The calls if the whole text is JSON of that form."""
    calls = calls_in(load(text), "arguments")
    return list(calls) if calls else None


def may_be_call(text: str) -> bool:
    """Whether a text still being written could turn out to be calls."""
    return not text.strip() or text.lstrip()[0] in "[{"
