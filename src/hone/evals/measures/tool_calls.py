"""Tool-call accuracy: 100 where all calls of the reference were made, in order, with equal names and arguments."""

from __future__ import annotations

from collections.abc import Sequence

from hone.evals.answered import Answered, Measured, ReadCalls


def measure(answers: Sequence[Answered], calls: ReadCalls) -> Measured:
    """Of every answer whose reference calls a tool, or that calls one itself; others have no such score."""
    each: list[float | None] = []
    for one in answers:
        said, wanted = calls(one.said or one.predict), calls(one.wanted or one.label)
        each.append(100.0 * (list(said) == list(wanted)) if said or wanted else None)
    return Measured({"tool_calls": each})
