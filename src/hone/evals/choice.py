"""Multiple-choice questions as conversations: worked examples first, then the question, answered by a letter."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hone.dialogue.message import Conversation, Message, Text

LETTERS = ("A", "B", "C", "D")
"""The columns that hold a question's options in the published tables; others are not shown."""
MORE_LETTERS = tuple("ABCDEFGHIJ")
"""The options that a question may have where they are given as a list."""
Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Question:
    """A question with its options by letter, and the letter of the right one."""

    text: str
    options: Mapping[str, str]
    answer: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any], letters: Sequence[str] = LETTERS) -> Question:
        """From a row with `question`, `A` to `D` (some may be missing) and `answer`. KeyError without a question."""
        options = {letter: str(row[letter]) for letter in letters if row.get(letter) is not None}
        return cls(str(row["question"]), options, str(row.get("answer") or ""))


@dataclass(frozen=True)
class Wording:
    """How a language puts questions: what is said before the first, and what asks for the answer."""

    header: tuple[str, str]
    prompt: str


WORDINGS: Mapping[Language, Wording] = {
    "en": Wording(("The following are multiple choice questions (with answers) about ", ".\n\n"), "\nAnswer:"),
    "zh": Wording(("以下是中国关于", "考试的单项选择题，请选出其中的正确答案。\n\n"), "\n答案："),
}


def conversation(question: Question, examples: Sequence[Question], *, subject: str, language: Language) -> Conversation:
    """The examples with their answers, then the question with its own as the last answer.

    To ask, leave the last message out.
    """
    wording = WORDINGS[language]
    messages: list[Message] = []
    for place, one in enumerate((*examples, question)):
        opening = subject.join(wording.header) if place == 0 else ""
        messages.append(Message("user", (Text(opening + _block(one, wording)),)))
        messages.append(Message("assistant", (Text(one.answer),)))
    return Conversation(tuple(messages))


def drawn(pool: Sequence[Question], n_shot: int, *, seed: int) -> list[Question]:
    """At most `n_shot` examples of the pool, by chance, the same ones for the same seed."""
    return random.Random(seed).sample(list(pool), min(n_shot, len(pool)))


def _block(question: Question, wording: Wording) -> str:
    options = "".join(f"\n{letter}. {text}" for letter, text in question.options.items())
    return question.text + options + wording.prompt
