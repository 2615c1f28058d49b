"""The parser: thought, text and calls, the same whole or in pieces, and nothing is lost."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speaking import CALLS, answer, plain_texts, talk, user, words_of

from hone.dialogue.message import Part, Text, Thought, ToolCall
from hone.dialogue.parse import StreamParser, joined_parts, parse, tail_of
from hone.dialogue.render import render_turns
from hone.dialogue.template import Template, load_template, template_names
from hone.dialogue.tools import dialect, dialect_names

ONE_CALL = [name for name in template_names() if load_template(name).calls == "glm4"]
MARKS = sorted({mark for name in dialect_names() for mark in dialect(name).MARKS})
FRAGMENTS = [
    *MARKS,
    *(mark.replace("<", "</", 1) for mark in MARKS),
    *("<think>", "</think>", "<think>\n", "\n</think>\n\n", "\n", " ", "[TOOL_CALLS]", "<function=f>", "</function>"),
    *(
        "<parameter=x>",
        "</parameter>",
        '{"name": "f", "arguments": {"x": 1}}',
        "f\n{}",
        "[",
        "{",
        "}",
        '<|"|>',
        "call:f{",
    ),
    *('<invoke name="f">', "</invoke>", "<tool_call|>", "<|tool_call_end|>", "[f(x=1)]", "<arg_key>k</arg_key>"),
    *("Action: f\nAction Input: {}", "word", "你好", "<", "</", "<|"),
]
answers = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.integers(0, 99).map(lambda n: f"w{n}w")), max_size=10).map(
    "".join
)
BY_DIALECT = {load_template(name).calls: name for name in template_names()}
CARDS = sorted({*BY_DIALECT.values(), "qwen3", "glm4_7", "gpt_oss", "mistral", "kimi_vl", "hy_dense_1_8b"})


def streamed(template: Template, text: str, cuts: list[int]) -> tuple[Part, ...]:
    parser = StreamParser(template)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[begin:end] for begin, end in pairwise(places)]
    return joined_parts([part for piece in pieces for part in parser.feed(piece)] + parser.close())


@pytest.mark.parametrize("name", CARDS)
@given(text=answers, cuts=st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_however_a_text_comes_it_reads_the_same(name: str, text: str, cuts: list[int]) -> None:
    template = load_template(name)
    whole = parse(template, text).parts
    assert streamed(template, text, cuts) == whole
    assert streamed(template, text, list(range(len(text)))) == whole


@pytest.mark.parametrize("name", CARDS)
@given(text=answers)
@settings(max_examples=100, deadline=None)
def test_no_word_is_lost(name: str, text: str) -> None:
    parts = parse(load_template(name), text).parts
    kept = " ".join(
        part.text if isinstance(part, Text | Thought) else f"{part.name} {part.arguments}" for part in parts
    )  # type: ignore[union-attr]
    assert sorted(re.findall(r"w\d+w", kept)) == sorted(re.findall(r"w\d+w", text))


def without_control_words(text: str) -> bool:
    """Hypothesis also draws words that it finds in our sources, and so the control words themselves."""
    return not any(word in text for word in ("<think>", "</think>", "<tool_call>"))


@given(text=st.text(max_size=60).filter(without_control_words))
@settings(max_examples=200, deadline=None)
def test_text_without_control_words_is_one_text(text: str) -> None:
    assert joined_parts(parse(load_template("qwen3"), text).parts) == ((Text(text),) if text else ())


@pytest.mark.parametrize("name", template_names())
def test_what_a_card_writes_it_reads_back(name: str) -> None:
    template = load_template(name)
    calls = CALLS[:1] if name in ONE_CALL else CALLS
    for parts in ([Text("Hello."), *calls], [*calls], [Thought("hm"), Text("Hello.")], [Thought("hm"), *calls]):
        whole = template.calls in ("llama3", "mistral", "glm4")  # a call is the whole answer
        if whole and isinstance(parts[0], Text) and len(parts) > 1:
            continue
        target = [words_of(made) for made in render_turns(template, talk(user("q"), answer(*parts)))[0].target]
        end = target.index("{eos}") if "{eos}" in target else len(target)
        text = "".join(word for word in target[:end] if word != "{bos}")
        text = text.removesuffix(tail_of(template.call if calls[0] in parts else template.assistant))
        text = text.replace("\nHello", "Hello") if name == "seed_oss" else text  # its slot for calls has a newline
        assert [part for part in parse(template, text).parts if part != Thought("")] == parts


@given(thought=plain_texts, said=plain_texts)
def test_a_thought_is_read_whatever_the_families_words(thought: str, said: str) -> None:
    for name in ("qwen3", "hy3", "gemma4", "gpt_oss", "kimi_vl", "seed_oss"):
        template = load_template(name)
        start, end = template.words.thought
        bare, tail = thought.strip(), said.strip()
        want: tuple[Part, ...] = (Thought(bare), *((Text(tail),) if tail else ()))
        assert parse(template, f"{start}{bare}{end}{tail}").parts == want


def test_a_thought_that_the_prompt_opened() -> None:
    parts = parse(load_template("qwen3"), "so far\n</think>\n\nhi", inside_thought=True).parts
    assert parts == (Thought("so far"), Text("hi"))


def test_an_unfinished_thought_is_a_thought() -> None:
    assert parse(load_template("qwen3"), "<think>\nso far").parts == (Thought("so far"),)


def test_text_is_given_at_once_unless_it_may_be_a_control_word() -> None:
    parser = StreamParser(load_template("qwen3"))
    assert parser.feed("Hello") == [Text("Hello")]
    assert parser.feed(" <tool") == [Text(" ")]
    assert parser.feed("box> x") == [Text("<toolbox> x")]
    assert parser.close() == []


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize(
    "bomb", ["[", '{"a":', "<tool_call>", "<think>", "<tool_call>\n<function=f>\n", "Action: ", "<|tool_call>call:f{"]
)
def test_hostile_answers_take_linear_time(name: str, bomb: str) -> None:
    began = time.process_time()
    text = bomb * (100_000 // len(bomb))
    message = parse(load_template(name), text)
    assert time.process_time() - began < 2
    assert sum(len(part.text) for part in message.parts if isinstance(part, Text | Thought)) >= len(text) - 200


def test_deeply_nested_arguments_are_text() -> None:
    text = '<tool_call>\n{"name": "f", "arguments": ' + "[" * 100_000 + "]" * 100_000 + "}\n</tool_call>"
    assert parse(load_template("qwen3"), text).parts == (Text(text),)
    assert not any(isinstance(part, ToolCall) for part in parse(load_template("qwen3"), text).parts)
