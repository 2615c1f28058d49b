"""The thinking policy: what is trained, what the history keeps, and where the empty thought goes."""

from __future__ import annotations

import pytest
from speaking import answer, talk, user, words_of, written

from hone.dialogue.message import Conversation, Thought
from hone.dialogue.render import render_answer
from hone.dialogue.template import load_template

EMPTY = "<think>\n\n</think>\n\n"
TOLD = talk(user("q"), answer(Thought("hm"), "a"), user("r"), answer("b"))
ASK = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>\n"


@pytest.mark.parametrize(
    ("enable", "mask_history", "first", "second"),
    [
        (True, False, ("", "<think>\nhm\n</think>\n\na"), ("", EMPTY + "b")),
        (False, False, (EMPTY, "a"), (EMPTY, "b")),
        (None, False, ("", "<think>\nhm\n</think>\n\na"), (EMPTY, "b")),
        (True, True, ("", "a"), ("", EMPTY + "b")),
        (False, True, ("", "a"), (EMPTY, "b")),
        (None, True, ("", "a"), (EMPTY, "b")),
    ],
)
def test_training(enable: bool | None, mask_history: bool, first: tuple[str, str], second: tuple[str, str]) -> None:
    template = load_template("qwen3").with_options(enable_thinking=enable)
    assert written(template, TOLD, mask_history=mask_history) == [
        (ASK.format("q") + first[0], first[1] + END),
        (ASK.format("r") + second[0], second[1] + END),
    ]


@pytest.mark.parametrize(
    ("enable", "preserve", "history", "given"),
    [
        (True, False, "a", ""),
        (False, False, "a", EMPTY),
        (None, False, "a", EMPTY),
        (True, True, "<think>\nhm\n</think>\n\na", ""),
        (False, True, "<think>\nhm\n</think>\n\na", EMPTY),
    ],
)
def test_prompting(enable: bool | None, preserve: bool, history: str, given: str) -> None:
    template = load_template("qwen3").with_options(enable_thinking=enable, preserve_thinking=preserve)
    asked = "".join(map(words_of, render_answer(template, TOLD).source))
    assert asked == ASK.format("q") + history + END + ASK.format("r") + given


def test_a_family_may_close_an_empty_thought_without_opening_it() -> None:
    said = talk(user("q"), answer("a"))
    assert written(load_template("glm4_7"), said)[0][1] == "</think>\na"


def test_an_unfinished_thought_counts_as_one() -> None:
    said = talk(user("q"), answer("<think> so far"))
    assert written(load_template("qwen3"), said)[0][1] == "<think> so far" + END


def test_a_thought_is_written_in_the_familys_own_words() -> None:
    said: Conversation = talk(user("q"), answer(Thought("\nhm\n", ("<think>", "</think>")), "a"))
    assert "<|channel>thought\nhm<channel|>a" in written(load_template("gemma4"), said)[0][1]
    assert "<think>\nhm\n</think>a" in written(load_template("qwen3"), said)[0][1]
