"""How a multiple-choice question is put."""

from __future__ import annotations

from hone.evals.choice import Question, conversation, drawn

POOL = [Question(f"question {number}", {"A": "yes", "B": "no"}, "A") for number in range(9)]


def test_examples_come_first_and_only_the_first_message_names_the_subject() -> None:
    asked = Question("Is {x} so?", {"A": "a", "B": "", "C": "c"}, "C")
    made = conversation(asked, POOL[:1], subject="law", language="en")
    assert [message.text for message in made.messages] == [
        "The following are multiple choice questions (with answers) about law.\n\nquestion 0\nA. yes\nB. no\nAnswer:",
        "A",
        "Is {x} so?\nA. a\nB. \nC. c\nAnswer:",
        "C",
    ]


def test_options_beyond_the_fourth_and_missing_ones_are_not_shown() -> None:
    row = {"question": "q", "A": "a", "C": "c", "D": None, "E": "e", "answer": "C"}
    assert Question.of(row).options == {"A": "a", "C": "c"}


def test_examples_are_drawn_by_the_seed() -> None:
    assert drawn(POOL, 5, seed=1) == drawn(POOL, 5, seed=1) != drawn(POOL, 5, seed=2)
    assert len(drawn(POOL, 50, seed=1)) == len(POOL) and drawn(POOL, 0, seed=1) == []
