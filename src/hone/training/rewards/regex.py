r"""Whether a pattern is found in an answer: `regex:\d`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hone.errors import RecipeError
from hone.training.rewards import KEY, Judge


def make(argument: str) -> Judge:
    """1 where the pattern is found anywhere (a dot is any letter, line ends too), else 0. Raises RecipeError."""
    try:
        pattern = re.compile(argument, re.DOTALL)
    except re.error as reason:
        raise RecipeError.one("REWARD", f"the pattern {argument!r} is wrong ({reason})", KEY) from None
    if not argument:
        raise RecipeError.one("REWARD", "regex needs a pattern", KEY, r"write it after a colon, as in regex:\d")

    def judge(completions: Sequence[str], **_: Sequence[str]) -> list[float]:
        return [float(pattern.search(one) is not None) for one in completions]

    return judge
