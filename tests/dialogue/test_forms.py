"""Conversations that are put into a form have the ids of those that are rendered one by one."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speaking import TOOL, answer, conversations, plain_texts, result, system, talk, texts, user

from hone.dialogue.encoder import Encoder
from hone.dialogue.forms import MOST
from hone.dialogue.message import Conversation, Thought
from hone.dialogue.render import render_answer, render_turns
from hone.dialogue.template import load_template, template_names
from hone.errors import DataError, ModelError

PLAIN = talk(system("be short"), user("a question"), answer("an answer"), user("and more"), answer("here"))


@pytest.mark.parametrize("name", template_names())
@given(
    said=st.lists(st.one_of(conversations(plain_texts, thoughts=False), conversations(texts)), max_size=4),
    thinks=st.sampled_from([True, False, None]),
    masked=st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_ids_are_those_of_the_rendered_conversation(
    bordered_tokenizer: Any, name: str, said: list[Conversation], thinks: bool | None, masked: bool
) -> None:
    template = load_template(name)
    if template.thinking is not None:
        template = template.with_options(enable_thinking=thinks)
    encoder = Encoder(template, bordered_tokenizer)
    assert encoder.control.borders is not None
    for one in (*said, *said):
        try:
            turns = encoder.turns_batch([one], mask_history=masked)[0]
            sides = [encoder.answers_batch([one])[0]]
        except ModelError as fault:
            assert fault.faults[0].code == "TEMPLATE-TOKEN"
            return
        for made, rendered in (
            (turns, render_turns(template, one, mask_history=masked)),
            (sides, [render_answer(template, one)]),
        ):
            expected = encoder.ids_of([side for turn in rendered for side in turn])
            assert [side.tolist() for turn in made for side in turn] == [side.tolist() for side in expected]


def forms(tokenizer: Any, name: str = "chatml") -> Any:
    return Encoder(load_template(name), tokenizer)._turns[False]


def test_plain_conversations_have_a_form_and_share_it(bordered_tokenizer: Any) -> None:
    made = forms(bordered_tokenizer)
    assert len(made.sides(PLAIN)) == 4
    assert made.sides(talk(user("x"), answer("y")))[1][0] == "y"
    assert len(made._known) == 2


@pytest.mark.parametrize(
    "said",
    [
        talk(user(" begins with a space"), answer("y")),
        talk(user("x"), answer("a control word <|im_end|>")),
        talk(user("x"), answer("half of one <|")),
        talk(user("x"), answer("")),
        talk(user("x"), answer(Thought("hm"), "y")),
        talk(user("x"), answer("y"), tools=(TOOL,)),
        talk(*[user("x"), answer("y")] * MOST),
    ],
)
def test_what_depends_on_its_texts_is_rendered_by_itself(bordered_tokenizer: Any, said: Conversation) -> None:
    assert forms(bordered_tokenizer).sides(said) is None


def test_forms_do_not_fill_memory_whatever_roles_are_sent(
    bordered_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hone.dialogue.forms.KEPT", 3)
    made = forms(bordered_tokenizer)
    said = [talk(*[user("x"), answer("y")] * count) for count in range(1, 9)]
    for conversation in (*said, *said):
        assert made.sides(conversation) == forms(bordered_tokenizer).sides(conversation)
        assert len(made._known) <= 3


def test_results_have_their_own_form(bordered_tokenizer: Any) -> None:
    made = forms(bordered_tokenizer)
    asked, told = made.sides(talk(user("x"), answer("y"))), made.sides(talk(result("x"), answer("y")))
    assert asked != told


def test_families_that_think_have_forms_of_texts_without_their_words(bordered_tokenizer: Any) -> None:
    made = forms(bordered_tokenizer, "kimi_vl")
    assert made.sides(talk(user("x"), answer("y"))) is not None
    assert made.sides(talk(user("x"), answer("y ◁/think▷ z"))) is None


def test_roles_out_of_order_are_the_same_fault(bordered_tokenizer: Any) -> None:
    with pytest.raises(DataError, match="message 2 is from user"):
        forms(bordered_tokenizer).sides(talk(user("x"), user("y")))


def test_an_encoder_with_forms_goes_to_other_processes(bordered_tokenizer: Any) -> None:
    encoder = Encoder(load_template("chatml"), bordered_tokenizer)
    before = encoder.turns(PLAIN)
    assert pickle.loads(pickle.dumps(encoder)).turns(PLAIN) == before
