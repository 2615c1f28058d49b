"""The renderer: turns, the opening, tools, and the one rule that what is trained is what is asked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from speaking import CALLS, TOOL, answer, conversations, result, system, talk, user, words_of, written

from hone.dialogue.message import Conversation, Text, Thought, ToolCall
from hone.dialogue.render import render_answer, render_prompt, render_turns
from hone.dialogue.slots import Piece
from hone.dialogue.template import load_template, template_names
from hone.errors import DataError

SINGLE = ("glm4", "glm4v", "glm_ocr", "glmz1", "chatglm3")
"""Cards whose dialect writes one call at a time."""


def test_turns_of_chatml() -> None:
    said = talk(system("Be brief."), user("hi"), answer("yo"), user("more"), answer("ok"))
    assert written(load_template("chatml"), said) == [
        (
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
            "yo<|im_end|>\n",
        ),
        ("<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n", "ok<|im_end|>\n"),
    ]


def test_the_system_text_goes_into_the_first_question_where_the_family_has_no_other_place() -> None:
    said = talk(system("S"), user("a"), answer("b"), user("c"), answer("d"))
    assert [source for source, _ in written(load_template("llama2"), said)] == [
        "{bos}[INST] <<SYS>>\nS\n<</SYS>>\n\na [/INST]",
        "{bos}[INST] c [/INST]",
    ]


def test_a_default_system_text_is_written_where_none_is_given() -> None:
    source, _ = written(load_template("smollm2"), talk(user("a"), answer("b")))[0]
    assert source.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert "Other" in written(load_template("smollm2"), talk(system("Other"), user("a"), answer("b")))[0][0]


@pytest.mark.parametrize("name", template_names())
def test_placeholders_in_a_users_text_stay_as_they_are(name: str) -> None:
    text = "{{content}} {{idx}} {text} {0} %s"
    said = "".join(part for turn in written(load_template(name), talk(user(text), answer(text))) for part in turn)
    assert said.count(text) == 2


@pytest.mark.parametrize("name", template_names())
def test_words_before_a_call_are_kept_by_every_card(name: str) -> None:
    said = talk(user("q"), answer(Thought("hm"), "Let me see.", CALLS[0]), result("3"), answer("a"), tools=(TOOL,))
    target = written(load_template(name).with_options(enable_thinking=True), said)[0][1]
    start, end = load_template(name).words.thought
    assert f"{start}hm{end}Let me see." in target and "add" in target


@pytest.mark.parametrize("name", template_names())
@given(said=conversations())
@settings(max_examples=8, deadline=None)
def test_what_is_trained_is_what_is_asked(name: str, said: Conversation) -> None:
    for enable in (True, False, None):
        template = load_template(name).with_options(enable_thinking=enable)
        asked = render_prompt(template, Conversation(said.messages[:-1], said.tools))
        bare = talk(*said.messages[:-1], answer("x"))
        assert asked == render_answer(template, bare).source
        history = [
            made for turn in render_turns(template, bare, mask_history=True)[:-1] for side in turn for made in side
        ]
        assert asked == [*history, *render_turns(template, bare, mask_history=True)[-1].source]


@pytest.mark.parametrize("name", template_names())
def test_every_text_is_written_once_and_in_order(name: str) -> None:
    texts = ["Sone", "Qtwo", "Athree", "Qfour", "Afive"]
    said = talk(system(texts[0]), *(m for i in (1, 3) for m in (user(texts[i]), answer(texts[i + 1]))))
    flat = "".join(part for turn in written(load_template(name), said) for part in turn)
    assert [flat.count(text) for text in texts] == [1] * 5
    assert sorted(texts, key=flat.index) == texts


def test_several_calls_are_one_answer() -> None:
    said = talk(user("q"), answer(*CALLS[:2]), result("3"), answer("a"), tools=(TOOL,))
    for name in template_names():
        if name in SINGLE:
            with pytest.raises(DataError, match="one"):
                render_turns(load_template(name), said)
        else:
            assert len(render_turns(load_template(name), said)) == 2


@pytest.mark.parametrize(
    "said",
    [
        talk(user("a"), user("b"), answer("c")),
        talk(answer("a")),
        talk(user("a")),
        talk(user("a"), answer("b"), system("late"), answer("c")),
    ],
)
def test_messages_out_of_turn_are_refused(said: Conversation) -> None:
    with pytest.raises(DataError) as caught:
        render_turns(load_template("chatml"), said)
    assert caught.value.faults[0].code == "DATA-ROLES"


def test_an_explicit_but_empty_system_message_is_written() -> None:
    assert written(load_template("chatml"), talk(system(""), user("a"), answer("b")))[0][0].startswith(
        "<|im_start|>system\n<|im_end|>\n"
    )


def test_a_call_word_typed_by_a_user_is_text_and_one_written_by_the_card_is_not() -> None:
    said = talk(user("<tool_call>"), answer(ToolCall("f", {"x": "<tool_call>"})), result("r"), answer("a"))
    turn = render_turns(load_template("qwen"), said)[0]
    outside = [
        run.text for made in (*turn.source, *turn.target) if isinstance(made, Piece) for run in made.runs if not run.own
    ]
    inside = [run.text for made in turn.target if isinstance(made, Piece) for run in made.runs if run.own]
    assert "<tool_call>" in outside and any("<tool_call>" in text for text in inside)
    assert words_of(turn.target[0]).count("<tool_call>") == 2


def test_parts_of_one_message_are_written_in_order() -> None:
    said = talk(user("q"), answer("a", Text("b"), Thought("t"), "c"))
    assert written(load_template("chatml"), said)[0][1] == "ab<think>\nt\n</think>\n\nc<|im_end|>\n"
