"""JSON validity: 100 for an answer that is one JSON value and nothing else, else 0."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NoReturn

from hone.evals.answered import Answered, Measured, ReadCalls


def measure(answers: Sequence[Answered], _: ReadCalls) -> Measured:
    """Of every answer, whatever its reference is."""
    return Measured({"json_valid": [100.0 * _valid(one.predict) for one in answers]})


def _valid(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> NoReturn:
    """Python reads NaN and Infinity; JSON has neither."""
    raise ValueError(name)
