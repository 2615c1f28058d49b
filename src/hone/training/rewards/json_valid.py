"""Whether an answer is JSON, alone or in one fenced block."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from hone.training.rewards import Judge

FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)


def make(_argument: str) -> Judge:
    """1 for an answer that can be read as JSON, else 0."""

    def judge(completions: Sequence[str], **_: Sequence[str]) -> list[float]:
        return [float(_reads(one)) for one in completions]

    return judge


def _reads(text: str) -> bool:
    fenced = FENCED.match(text)
    try:
        json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return False
    return True
