"""Questions of a benchmark are found in rows, whatever stands around them, and ordinary rows hold none."""

from __future__ import annotations

import pytest

from hone.data.health.benchmarks import Benchmarks
from hone.evals.choice import Question

LONG = Question(
    "A horseman rides for three hours at nine miles an hour and then for two at six, rests in the shade until bells "
    "ring for the evening, and goes back by a road that is a third as long again; how far has he come at last?",
    {"A": "39", "B": "27"},
)
SHORT = Question("Which of the following is true of glass?", {"A": "It flows", "B": "It is a crystal"})
CHINESE = Question("下列关于光合作用的说法中，哪一项是正确的？", {"A": "只在夜间进行", "B": "需要光"})


@pytest.mark.parametrize(
    "row",
    [
        f"Please answer. {LONG.text} Thanks!",
        LONG.text.upper().replace(" ", "\n"),
        LONG.text.replace("horseman", "rider"),
        f"{SHORT.text}\nA. It flows\nB. It is a crystal\nAnswer:",
        f"问题：{CHINESE.text}\nA. 只在夜间进行\nB. 需要光",
    ],
)
def test_a_row_that_holds_a_question_is_found(row: str) -> None:
    looked_for = Benchmarks([LONG, SHORT, CHINESE])
    assert looked_for.asked_in(row)
    assert len(looked_for.seen) == 1


@pytest.mark.parametrize(
    "row", ["", "Hello", SHORT.text, f"{SHORT.text} It flows, or so they say.", LONG.text[:60], CHINESE.text, "x" * 999]
)
def test_other_rows_are_not(row: str) -> None:
    looked_for = Benchmarks([LONG, SHORT, CHINESE])
    assert not looked_for.asked_in(row)


def test_questions_too_short_to_be_told_from_sentences_are_left_out() -> None:
    looked_for = Benchmarks([Question("How many?", {"A": "one"}), LONG])
    assert (len(looked_for), looked_for.left_out) == (1, 1)
    assert not looked_for.asked_in("How many? one")
