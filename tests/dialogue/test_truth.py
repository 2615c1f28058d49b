"""What is trained is what is asked: the ids of every card in training, and those that chat and serving send."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from speaking import CALLS, TOOL, answer, conversations, result, results, system, talk, texts, user

from hone.data.encode import encode_sft
from hone.data.stage import Limits
from hone.dialogue.encoder import Encoder
from hone.dialogue.example import IGNORED
from hone.dialogue.fix_tokenizer import fix_tokenizer
from hone.dialogue.message import Conversation, Message, Part, Text, Thought
from hone.dialogue.records import Chat
from hone.dialogue.slots import Mark
from hone.dialogue.template import Template, load_template, template_names
from hone.dialogue.thinking import thinks
from hone.dialogue.tools import llama3
from hone.errors import DataError

OWN_END = {"deepseekcoder": "<|EOT|>", "granite3": "<|end_of_text|>"}
"""Cards that spell out the end token of their family's tokenizers."""
ENDLESS, ENDLESS_CALLS = {"empty"}, {"empty", "gemma4", "gemma4n", "youtu"}
"""Cards in which nothing ends an answer, and a call: as docs/templates.md says."""


def placed_by_id(template: Template) -> list[str]:
    slots = (template.prefix, template.system, template.user, template.assistant, template.call, template.result)
    return [part.token for slot in slots for part in slot if isinstance(part, Mark) and part.token]


@pytest.fixture(scope="module")
def own_tokenizer(chatml_tokenizer: Any) -> Any:
    """A copy of the tokenizer trained here, to be made fit for one card after the other."""
    return copy.deepcopy(chatml_tokenizer)


@cache
def small(folder: Path) -> Any:
    """The small real model's tokenizer, read once and made fit for one card after the other."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def encoder_of(template: Template, tokenizer: Any) -> Encoder:
    """An encoder on a tokenizer that has the tokens which the card places by id."""
    missing = [word for word in placed_by_id(template) if word not in tokenizer.get_vocab()]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)
    if template.name in OWN_END:
        tokenizer.add_special_tokens({"eos_token": OWN_END[template.name]})
    fix_tokenizer(tokenizer, template)
    return Encoder(template, tokenizer)


def trained(encoder: Encoder, said: Conversation, *, mask_history: bool) -> tuple[list[int], list[int]]:
    """The ids and labels that the stage sft gives the model."""
    limits = Limits(1 << 20, mask_history=mask_history)
    example = encode_sft([Chat(said)], encoder, limits)[0].example
    return example.input_ids.tolist(), example.labels.tolist()


def check(encoder: Encoder, said: Conversation, *, mask_history: bool) -> None:
    """What is trained is what chat and serving send, then the answer that ends with a stop token, learned whole."""
    prompt = encoder.prompt(Conversation(said.messages[:-1], said.tools))
    asked, answered = encoder.answer(said)
    answered += [encoder.eos_id] if encoder.efficient_eos and encoder.eos_id is not None else []
    ids, labels = trained(encoder, said, mask_history=mask_history)
    assert ids == asked + answered
    assert labels[len(asked) :] == answered
    if mask_history:
        assert set(labels[: len(asked)]) <= {IGNORED}
    assert asked == prompt or opens_thought(encoder.template, said)
    if encoder.template.name not in (ENDLESS_CALLS if said.messages[-1].calls else ENDLESS):
        check_end(encoder, answered)


def check_end(encoder: Encoder, answered: list[int]) -> None:
    """The first stop token of what is learned is where a model stops: behind it there is white space at most."""
    stops = [place for place, token in enumerate(answered) if token in encoder.stop_ids]
    assert stops, encoder.tokenizer.decode(answered)
    rest = [token for token in answered[stops[0] :] if token not in encoder.stop_ids]
    assert not encoder.tokenizer.decode(rest).strip()


def opens_thought(template: Template, said: Conversation) -> bool:
    """The one documented exception: with thinking unset, a prompt ends in an empty thought which an answer that
    thinks was not trained on; with it set, never."""
    thinking = template.thinking
    last = said.messages[-1]
    return thinking is not None and thinking.enable is not True and thinks(last, template.words)


@st.composite
def working(draw: st.DrawFn) -> Conversation:
    """Conversations with tools on offer, calls (some parallel), their results, and answers in words or calls."""
    messages: list[Message] = [system(draw(texts))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        count = draw(st.integers(1, 2))
        lead: list[Part] = draw(
            st.sampled_from([[], [Text("let me see")], [Thought("I add")], [Thought("a"), Text("b")]])
        )
        messages += [user(draw(texts)), answer(*lead, *CALLS[:count])]
        messages += [results(*[draw(texts) for _ in range(count)]), answer(draw(texts))]
    return talk(*messages[: -2 if draw(st.booleans()) else None], tools=(TOOL,))


def written_down(encoder: Encoder, said: Conversation) -> bool:
    """Whether the family has a form for all of it; what it has none for is refused, when trained and when asked."""
    try:
        encoder.turns(said)
    except DataError as refused:
        assert {fault.code for fault in refused.faults} == {"DATA-TOOLCALL"}
        with pytest.raises(DataError):
            encoder.answer(said)
        return False
    return True


def with_calls() -> list[Conversation]:
    called = answer("so", CALLS[0])
    return [
        talk(system("s"), user("q"), called, result("3"), answer("three"), tools=(TOOL,)),
        talk(user("q"), called, tools=(TOOL,)),
    ]


@pytest.mark.parametrize("name", template_names())
@given(said=st.one_of(conversations(), conversations(), working()), enable=st.sampled_from([True, False, None]))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_prompt_is_what_was_trained_before_the_answer(
    name: str, own_tokenizer: Any, said: Conversation, enable: bool | None
) -> None:
    with same_day():
        encoder = encoder_of(load_template(name).with_options(enable_thinking=enable), own_tokenizer)
        assume(written_down(encoder, said))
        check(encoder, said, mask_history=encoder.template.thinking is not None)
        kept = encoder_of(encoder.template.with_options(preserve_thinking=True), encoder.tokenizer)
        if enable is not False and not unlearned_history(kept.template, said):
            check(kept, said, mask_history=False)


@contextmanager
def same_day() -> Iterator[None]:
    """Llama 3 names the day where tools are offered: midnight is no reason to fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama3, "today", lambda: date(2024, 7, 26))
        yield


def unlearned_history(template: Template, said: Conversation) -> bool:
    """Training of every turn gives an earlier answer without a thought an empty one; a prompt's history has none."""
    earlier = [message for message in said.messages[:-1] if message.role == "assistant"]
    return template.thinking is not None and any(not thinks(message, template.words) for message in earlier)


THINKING = [name for name in template_names() if load_template(name).thinking is not None]


@pytest.mark.parametrize("enable", [True, False, None])
@pytest.mark.parametrize("name", THINKING)
def test_training_every_turn_adds_no_more_than_empty_thoughts(
    name: str, enable: bool | None, own_tokenizer: Any
) -> None:
    template = load_template(name).with_options(enable_thinking=enable, preserve_thinking=True)
    encoder = encoder_of(template, own_tokenizer)
    said = talk(user("a"), answer("b"), user("c"), answer("d"), user("e"), answer("f"))
    ids = [token for turn in encoder.turns(said) for side in turn for token in side]
    asked, answered = encoder.answer(said)
    text, plain = encoder.tokenizer.decode(ids), encoder.tokenizer.decode(asked + answered)
    assert template.thinking is not None
    empty = template.thinking.empty
    assert text.count(empty) == 3
    assert text.replace(empty, "") == plain.replace(empty, "")


@pytest.mark.model
@pytest.mark.parametrize("name", template_names())
def test_a_prompt_is_what_was_trained_with_the_small_models_tokenizer(name: str, small_model: Path) -> None:
    with same_day():
        encoder = encoder_of(load_template(name), small(small_model))
        for said in [*with_calls(), talk(user("你好"), answer("好"), user("é\n\n"), answer("ok"))]:
            check(encoder, said, mask_history=True)
