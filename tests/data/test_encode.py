"""What of a conversation is learned where the end of an answer is learned at the next question's first token."""

from __future__ import annotations

from dataclasses import replace

import letters
import pytest

from hone.data.encode import encode_sft
from hone.data.stage import Limits
from hone.dialogue.example import IGNORED
from hone.dialogue.message import Conversation, Message, Text
from hone.dialogue.records import Chat

ENCODER = letters.LetterEncoder(efficient_eos=True)
"""It ends each answer with token 2 itself; with `efficient_eos` one more follows at the next question."""


def labels(learns: tuple[bool | None, ...], **limits: object) -> list[list[int]]:
    """The labels of the turns `ab` → `c`, one list for each question and each answer, and for what follows the last."""
    said = [Message("user", (Text("ab"),)), Message("assistant", (Text("c"),))]
    messages = [replace(one, learn=learn) if one.role == "assistant" else one for learn in learns for one in said]
    made = encode_sft([Chat(Conversation(tuple(messages)))], ENCODER, Limits(99, **limits))[0].example
    assert len(made.input_ids) == 4 * len(learns) + 1
    return [made.labels[place : place + 2].tolist() for place in range(0, len(made.labels), 2)]


MASKED, C, END = [IGNORED, IGNORED], [letters.FIRST_LETTER + ord("c"), letters.END], letters.END


@pytest.mark.parametrize(
    ("learns", "masked", "wanted"),
    [
        ((None, None, None), False, [MASKED, C, [END, IGNORED], C, [END, IGNORED], C, [END]]),
        ((None, None, None), True, [MASKED, MASKED, MASKED, MASKED, MASKED, C, [END]]),
        ((True, None, None), True, [MASKED, C, [END, IGNORED], MASKED, MASKED, C, [END]]),
        ((None, False, None), False, [MASKED, C, [END, IGNORED], MASKED, MASKED, C, [END]]),
        ((None, False), False, [MASKED, C, [END, IGNORED], MASKED, [IGNORED]]),
    ],
)
def test_the_end_of_an_answer_is_learned_where_the_answer_is(
    learns: tuple[bool | None, ...], masked: bool, wanted: list[list[int]]
) -> None:
    assert labels(learns, mask_history=masked) == wanted
