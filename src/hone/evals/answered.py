"""A question that was answered: the texts that are written down, and those that are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answered:
    """`predict` and `label` are the answer and its reference as they are shown. `said` and `wanted` are the same with
    their control tokens, from which tool calls are read."""

    prompt: str
    predict: str
    label: str
    said: str = ""
    wanted: str = ""


@dataclass(frozen=True)
class Measured:
    """Scores: of single answers (None: this one has none), of all together, and how these came about."""

    each: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    together: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


ReadCalls = Callable[[str], Sequence[tuple[str, Any]]]
"""The tool calls in an answer, as names and arguments."""


def means(scores: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """The mean of each score over the answers that have it; left out where none has."""
    found = {name: [value for value in values if value is not None] for name, values in scores.items()}
    return {name: sum(values) / len(values) for name, values in found.items() if values}
