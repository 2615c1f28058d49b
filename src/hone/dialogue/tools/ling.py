"""Ling (Bailing V2): Qwen's words without the empty lines before them, and a switch that turns long thinking off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.slots import Run, own
from hone.dialogue.tools import qwen
from hone.dialogue.tools.qwen import LEAD as LEAD
from hone.dialogue.tools.qwen import MARKS as MARKS
from hone.dialogue.tools.qwen import may_be_call as may_be_call
from hone.dialogue.tools.qwen import read as read
from hone.dialogue.tools.qwen import write as write


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """Qwen's text, then `detailed thinking off`."""
    head, listed, tail = qwen.describe(tools)
    return own(head.text.lstrip("\n")), listed, tail, own("\ndetailed thinking off")
