"""How close an answer comes to a wanted number of letters: `length:200`."""

from __future__ import annotations

from collections.abc import Sequence

from hone.errors import RecipeError
from hone.training.rewards import KEY, Judge


def make(argument: str) -> Judge:
    """1 at exactly so many letters, falling evenly to 0 at none and at twice as many. Raises RecipeError."""
    wanted = int(argument) if argument.isdecimal() else 0
    if not wanted:
        raise RecipeError.one("REWARD", "length needs a number of letters", KEY, "write it after a colon: length:200")

    def judge(completions: Sequence[str], **_: Sequence[str]) -> list[float]:
        return [max(0.0, 1.0 - abs(len(one) - wanted) / wanted) for one in completions]

    return judge
