"""Message texts of data sets: read into parts and written back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speaking import texts

from hone.dialogue.message import Message, Text, Thought, ToolCall
from hone.dialogue.template import GENERIC, load_template
from hone.dialogue.wording import read_conversation, read_message, read_tools, write_message
from hone.errors import DataError

thinking = st.lists(
    st.sampled_from(["<think>", "</think>", "\n", "\n\n", "<think>\n", "\n</think>\n\n", "x", " "])
).map("".join)


@given(st.one_of(texts, thinking), st.sampled_from(["user", "assistant", "observation"]))
def test_reading_and_writing_a_text_gives_it_back(text: str, role: str) -> None:
    assert write_message(read_message(role, text, GENERIC)) == text


def test_a_thought_in_the_usual_words_is_a_part() -> None:
    assert read_message("assistant", "<think>\nhm\n</think>\n\nhi").parts == (Thought("hm"), Text("hi"))


def test_a_thought_with_other_white_space_keeps_it() -> None:
    parts = read_message("assistant", "<think>hm</think>hi").parts
    assert parts == (Thought("hm", ("<think>", "</think>")), Text("hi"))


def test_the_familys_words_are_tried_before_the_generic_ones() -> None:
    words = load_template("gemma4").words
    assert read_message("assistant", "<|channel>thought\nhm<channel|>hi", words, GENERIC).parts[0] == Thought("hm")
    assert read_message("assistant", "<think>\nhm\n</think>\n\nhi", words, GENERIC).parts[0] == Thought("hm")
    assert read_message("assistant", "<think>\nhm\n</think>\n\nhi", words).parts == (
        Text("<think>\nhm\n</think>\n\nhi"),
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('{"name": "f", "arguments": {"x": 1}}', (ToolCall("f", {"x": 1}),)),
        ('[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]', (ToolCall("f", {}), ToolCall("g", {}))),
        ('<think>\nhm\n</think>\n\n{"name": "f", "arguments": {}}', (Thought("hm"), ToolCall("f", {}))),
        ('Ok.<tool_call>{"name": "f", "arguments": {}}</tool_call>', (Text("Ok."), ToolCall("f", {}))),
        ('{"id": "7", "name": "f", "arguments": {}}', (ToolCall("f", {}, "7"),)),
    ],
)
def test_function_messages(text: str, parts: tuple[object, ...]) -> None:
    assert read_message("function", text, GENERIC) == Message("assistant", parts)  # type: ignore[arg-type]


def test_every_wrapped_call_is_a_call() -> None:
    text = (
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>\n<tool_call>{"name": "g", "arguments": {}}</tool_call>'
    )
    assert [call.name for call in read_message("function", text).calls] == ["f", "g"]


@pytest.mark.parametrize(
    "text", ["f(1)", '{"name": "f"}', '{"arguments": {}}', "5", '"x"', "Sure! {}", "[" * 100_000, ""]
)
def test_a_function_message_that_is_no_call_is_refused(text: str) -> None:
    with pytest.raises(DataError) as caught:
        read_message("function", text)
    assert caught.value.faults[0].code == "DATA-TOOLCALL"


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(DataError, match="narrator"):
        read_message("narrator", "x")


@pytest.mark.parametrize("text", ["{}", '"x"', "null", "[1]", "no json", "[" * 100_000])
def test_tools_that_are_no_list_of_objects_are_refused(text: str) -> None:
    with pytest.raises(DataError) as caught:
        read_tools(text)
    assert caught.value.faults[0].code == "DATA-TOOLS"


def test_a_conversation_with_system_and_tools() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    said = read_conversation(messages, system="S", tools='[{"name": "f"}]')
    assert said.system == "S" and said.tools == ({"name": "f"},)
    assert read_conversation(messages).system is None
    assert read_conversation(messages, tools="[]").system == ""


@given(st.text(max_size=200))
def test_thought_words_never_swallow_text(text: str) -> None:
    marked = f"<think>{text}"
    assert write_message(read_message("assistant", marked)) == marked
