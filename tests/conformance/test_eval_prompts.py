"""Multiple-choice questions are put as the corpus has them."""

from __future__ import annotations

from typing import Any

from corpus import Tally, cases, needs_corpus

from hone.evals.choice import Question, conversation

FAMILY = "eval_prompts"


def messages(case: dict[str, Any]) -> list[dict[str, str]]:
    target, support = Question.of(case["target"]), [Question.of(row) for row in case["support"]]
    made = conversation(target, support, subject=case["subject"], language=case["lang"])
    return [{"role": message.role, "content": message.text} for message in made.messages]


@needs_corpus
def test_questions_are_put_as_the_corpus_says(tally: Tally) -> None:
    faults = []
    for case in cases(FAMILY):
        made = messages(case)
        fault = None if made == case["expect"]["messages"] else f"put as {made}"
        faults.append(tally.judge(FAMILY, case["id"], fault))
    assert not [fault for fault in faults if fault]
