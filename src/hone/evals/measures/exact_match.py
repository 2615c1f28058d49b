"""Exact match: 100 for an answer that is its reference, white space around both left out, else 0."""

from __future__ import annotations

from collections.abc import Sequence

from hone.evals.answered import Answered, Measured, ReadCalls


def measure(answers: Sequence[Answered], _: ReadCalls) -> Measured:
    """Of every answer."""
    return Measured({"exact_match": [100.0 * (one.predict.strip() == one.label.strip()) for one in answers]})
