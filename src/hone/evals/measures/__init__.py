"""Scores of answers, by name. The folder is the registry of those that are built in; others are Python functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hone.errors import RecipeError
from hone.evals.answered import Answered, Measured, ReadCalls
from hone.registry import find, load_file, names

KEY = "predict_metrics"
FOLDER = "hone.evals.measures"
Measure = Callable[[Sequence[Answered], ReadCalls], Measured]


def load_measure(named: str) -> Measure:
    """A measure by its name, or the user's own function `file.py:function`, which is run: it is the user's own code.

    Raises RecipeError for one that cannot be had, MachineError when it needs a package that is not installed.
    """
    if named in names(FOLDER):
        module = find(FOLDER, named)
        if hasattr(module, "need"):
            module.need()
        measure: Measure = module.measure
        return measure
    place, _, function = named.rpartition(":")
    if not place.endswith(".py") or not function:
        raise _fault(f"there is no measure {named!r}")
    try:
        judge = getattr(load_file(Path(place).expanduser()), function)
    except Exception as reason:
        raise _fault(f"{named} cannot be loaded ({type(reason).__name__}: {reason})") from reason
    return lambda answers, _: _own(named, function, judge, answers)


def _own(named: str, function: str, judge: Callable[..., Any], answers: Sequence[Answered]) -> Measured:
    """What the user's function says of all answers: it gets three lists and returns as many numbers."""
    try:
        given = judge(
            prompts=[one.prompt for one in answers],
            completions=[one.predict for one in answers],
            answers=[one.label for one in answers],
        )
        found = [None if value is None else float(value) for value in given]
    except Exception as reason:
        raise _fault(f"{named} failed ({type(reason).__name__}: {reason})") from reason
    if len(found) != len(answers):
        raise _fault(f"{named} gave {len(found)} numbers for {len(answers)} answers")
    if not all(value is None or math.isfinite(value) for value in found):
        raise _fault(f"{named} gave a number that is not finite")
    return Measured({function: found})


def _fault(what: str) -> RecipeError:
    found = RecipeError.one("METRIC", what, KEY, f"name one of {', '.join(names(FOLDER))}, or file.py:function")
    assert isinstance(found, RecipeError)
    return found
