"""Whether an answer is the data set's answer, but for white space around it."""

from __future__ import annotations

from collections.abc import Sequence

from hone.training.rewards import Judge


def make(_argument: str) -> Judge:
    """1 for the same text, else 0."""

    def judge(completions: Sequence[str], answers: Sequence[str], **_: Sequence[str]) -> list[float]:
        return [float(one.strip() == right.strip()) for one, right in zip(completions, answers, strict=True)]

    return judge
