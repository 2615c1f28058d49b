"""A card's chat template writes what our renderer writes, whatever the conversation, for every card that has one."""

from __future__ import annotations

import datetime
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent))

from speaking import CALLS, TOOL, answer, common, conversations, result, results, system, talk, text_of, user

from hone.dialogue.compile.jinja import compile_jinja, jinja_refusal
from hone.dialogue.compile.jinja_tools import DECLARED, LISTED, WRITTEN
from hone.dialogue.derived import Render
from hone.dialogue.jinja import compile_template
from hone.dialogue.message import Conversation, Text, Thought, ToolCall
from hone.dialogue.render import render_answer, render_prompt
from hone.dialogue.template import Template, load_template, template_names
from hone.dialogue.tools import dialect_names, llama3
from hone.errors import ModelError

NAMES = [name for name in template_names() if jinja_refusal(load_template(name)) is None]
TOKENS = {"bos_token": "<BOS>", "eos_token": "<EOS>", "date_string": "02 Jan 2026"}


@cache
def written_by_jinja(name: str) -> Render:
    return compile_template(compile_jinja(load_template(name)))


def rendered(name: str, conversation: Conversation, *, ask: bool, **options: Any) -> str:
    given: dict[str, Any] = {"messages": common(conversation), "add_generation_prompt": ask, **TOKENS, **options}
    if conversation.tools:
        given["tools"] = [dict(tool) for tool in conversation.tools]
    return written_by_jinja(name)(given)


def holds_whole_thought(template: Template, conversation: Conversation) -> bool:
    """Whether an answer's text holds both thought words, which a chat template reads as a thought."""
    marks = [word.strip() for word in template.words.thought]
    return any(all(mark in message.text for mark in marks) for message in conversation.messages)


def check(name: str, said: Conversation, *, enable: bool | None, preserve: bool) -> None:
    options = {"enable_thinking": enable, "preserve_thinking": preserve}
    template = load_template(name).with_options(**options)
    whole = render_answer(template, said)
    assert rendered(name, said, ask=False, **options) == text_of([*whole.source, *whole.target])
    asked = Conversation(said.messages[:-1], said.tools)
    assert rendered(name, asked, ask=True, **options) == text_of(render_prompt(template, asked))


@pytest.mark.parametrize("name", NAMES)
@given(said=conversations(), enable=st.sampled_from([True, False, None]), preserve=st.booleans())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_jinja_writes_what_the_renderer_writes(
    name: str, said: Conversation, enable: bool | None, preserve: bool
) -> None:
    assume(not holds_whole_thought(load_template(name), said))
    check(name, said, enable=enable, preserve=preserve)


WIDE = {
    "type": "function",
    "function": {
        "name": "find_it",
        "description": "Find <it> 'quickly' & \"well\"",
        "parameters": {
            "type": "object",
            "properties": {
                "q": {"type": "string", "description": "猫", "enum": ["a", "b"]},
                "items": {"type": "array", "description": "many", "items": {"type": "string"}},
                "n": {"type": "integer"},
            },
            "required": ["q"],
        },
    },
}
WITH_TOOLS = {
    "a call": talk(user("q"), answer(CALLS[0]), result("3"), answer("three"), tools=(TOOL,)),
    "a call that is still the last word": talk(
        system("Be brief."), user("q"), answer("let me", CALLS[1]), tools=(TOOL, WIDE)
    ),
    "a thought before a call": talk(
        user("q"), answer(Thought("hm"), CALLS[0]), result("3"), answer(Thought("so"), "three"), tools=(WIDE,)
    ),
    "no arguments": talk(user("q"), answer(CALLS[2]), tools=(WIDE,)),
}
PARALLEL = talk(
    user("q"), answer(*CALLS), results("1", "2", "3"), answer("a"), user("r"), answer("b"), tools=(TOOL, WIDE)
)


@pytest.mark.parametrize("name", NAMES)
def test_jinja_writes_tools_and_calls_as_the_renderer_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama3, "today", lambda: datetime.date(2026, 1, 2))
    several = [] if load_template(name).calls == "glm4" else [PARALLEL]
    for said in [*WITH_TOOLS.values(), *several]:
        for enable in (True, False, None):
            check(name, said, enable=enable, preserve=False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9**9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize(
    "name", ["qwen3", "llama3", "mistral", "glm4_moe", "qwen3_5", "default", "lfm2", "minimax2", "seed_oss", "gemma4"]
)
@given(arguments=st.dictionaries(st.from_regex(r"\A[a-z_]{1,8}\Z"), json_values, max_size=3))
@settings(max_examples=15, deadline=None)
def test_calls_are_written_alike_whatever_their_arguments(name: str, arguments: dict[str, Any]) -> None:
    check(name, talk(user("q"), answer(ToolCall("act", arguments))), enable=True, preserve=False)


def test_a_card_that_places_tokens_by_id_has_no_chat_template() -> None:
    refused = [name for name in template_names() if name not in NAMES]
    assert refused == ["chatglm3", "yuan"]
    for name in refused:
        with pytest.raises(ModelError, match="TEMPLATE-COMPILE"):
            compile_jinja(load_template(name))


def test_every_dialect_has_a_jinja_form() -> None:
    assert {*LISTED, *DECLARED} == set(WRITTEN) == set(dialect_names())


def test_content_may_come_in_parts() -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "what is it?"}]
    text = written_by_jinja("chatml")({"messages": [{"role": "user", "content": parts}]})
    assert text == "<|im_start|>user\n<image>what is it?<|im_end|>\n<|im_start|>assistant\n"


def test_a_thought_in_an_earlier_answers_text_is_left_out() -> None:
    said = talk(user("a"), answer(Text("<think>\nhm\n</think>\n\nb")), user("c"))
    assert rendered("qwen3", said, ask=True) == rendered("qwen3", talk(user("a"), answer("b"), user("c")), ask=True)


def test_a_message_that_has_no_place_is_refused() -> None:
    with pytest.raises(ModelError, match="system"):
        rendered("chatml", talk(user("a"), answer("b"), system("late")), ask=True)
