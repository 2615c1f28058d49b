"""Phi-4-mini: the tools as one JSON list between its tool tokens; calls as in the default dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._json import dump
from hone.dialogue.tools.default import LEAD as LEAD
from hone.dialogue.tools.default import MARKS as MARKS
from hone.dialogue.tools.default import may_be_call as may_be_call
from hone.dialogue.tools.default import read as read
from hone.dialogue.tools.default import write as write


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """The list as it was given."""
    return own("<|tool|>"), said(dump(list(tools))), own("<|/tool|>")
