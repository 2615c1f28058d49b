"""Rewards: numbers for answers. The folder is the registry of those that are built in; others are Python functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hone.errors import RecipeError
from hone.registry import find, load_file, names

Judge = Callable[..., Sequence[float]]
"""Called with the lists `prompts`, `completions` and `answers` (what the data set has, or ""), all of one length;
returns as many numbers."""
KEY = "reward_funcs"


@dataclass(frozen=True)
class Reward:
    """What an answer is worth, times `weight`."""

    name: str
    judge: Judge
    weight: float = 1.0

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], answers: Sequence[str]) -> list[float]:
        """A number for each answer, not yet weighed. Raises RecipeError for a function that does something else."""
        try:
            given = self.judge(prompts=list(prompts), completions=list(completions), answers=list(answers))
            found = [float(value) for value in given]
        except Exception as reason:
            raise _fault(f"the reward {self.name} failed ({type(reason).__name__}: {reason})") from reason
        if len(found) != len(completions):
            raise _fault(f"the reward {self.name} gave {len(found)} numbers for {len(completions)} answers")
        if any(value != value or value in (float("inf"), float("-inf")) for value in found):
            raise _fault(f"the reward {self.name} gave a number that is not finite")
        return found


def load_reward(named: str, weight: float = 1.0) -> Reward:
    """A reward by its name: built in (`exact_match`, `regex:PATTERN` …), `file.py:function` or `module:function`.

    Raises RecipeError for one that cannot be had.
    """
    head, _, argument = named.partition(":")
    if head in names("hone.training.rewards"):
        return Reward(head, find("hone.training.rewards", head).make(argument), weight)
    place, _, function = named.rpartition(":")
    if not place or not function:
        raise _fault(f"there is no reward {named!r}")
    try:
        judge = getattr(_module(place), function)
    except Exception as reason:
        raise _fault(f"the reward {named} cannot be loaded ({type(reason).__name__}: {reason})") from reason
    return Reward(function, judge, weight)


def _module(place: str) -> Any:
    """A file by its path, or an importable module by its name. It is the user's own code, and is run."""
    return load_file(Path(place).expanduser()) if place.endswith(".py") else importlib.import_module(place)


def _fault(what: str) -> RecipeError:
    known = ", ".join(names("hone.training.rewards"))
    found = RecipeError.one("REWARD", what, KEY, f"name one of {known}, or file.py:function, or module:function")
    assert isinstance(found, RecipeError)
    return found
