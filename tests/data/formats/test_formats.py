"""Rows of every format become records, and what does not fit is a fault of the row."""

from __future__ import annotations

from typing import Any

import pytest

from hone.data.book import Entry, look_up
from hone.data.formats import load_format
from hone.data.row import RowFault
from hone.dialogue.message import Media, Message, Text, Thought, ToolCall
from hone.dialogue.records import Chat, Record
from hone.errors import DataError


def entry(**content: Any) -> Entry:
    return look_up(["x"], {"x": {"file_name": "x.json", **content}})[0]


def record(row: dict[str, Any], **content: Any) -> Record:
    made = entry(**content)
    return load_format(made.formatting)(row, made)


def messages(row: dict[str, Any], **content: Any) -> tuple[Message, ...]:
    made = record(row, **content)
    assert isinstance(made, Chat)
    return made.conversation.messages


def fault(row: dict[str, Any], **content: Any) -> str:
    with pytest.raises(RowFault) as raised:
        record(row, **content)
    return raised.value.what


def sharegpt(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


def openai(*turns: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(turns)}


WITH_ALL = {"columns": {"prompt": "instruction", "response": "output", "history": "history", "tools": "tools"}}

BAD_ALPACA = {
    "a number as answer": ({"instruction": "q", "output": 5}, "`output` is a number, not text"),
    "a list as question": ({"instruction": ["q"], "output": "a"}, "`instruction` is a list, not text"),
    "no question": ({"instrution": "q", "output": "a"}, "did you mean `instrution`"),
}


@pytest.mark.parametrize(("row", "what"), BAD_ALPACA.values(), ids=BAD_ALPACA)
def test_an_alpaca_row_of_the_wrong_kind_is_a_fault_that_names_the_key(row: dict[str, Any], what: str) -> None:
    assert what in fault(row)


@pytest.mark.parametrize("history", ["abc", [["only one"]], [["a", 5]], [{"q": "a"}]])
def test_a_history_that_is_no_list_of_pairs_is_a_fault(history: Any) -> None:
    assert "`history`" in fault({"instruction": "q", "output": "a", "history": history}, **WITH_ALL)


@pytest.mark.parametrize("tools", ["{", [5], 5])
def test_tools_that_are_no_schemas_are_a_fault(tools: Any) -> None:
    assert "`tools`" in fault({"instruction": "q", "output": "a", "tools": tools}, **WITH_ALL)


@pytest.mark.parametrize("tools", ['[{"name": "t"}]', [{"name": "t"}], {"name": "t"}])
def test_tools_may_be_json_text_a_list_or_one_schema(tools: Any) -> None:
    made = record({"instruction": "q", "output": "a", "tools": tools}, **WITH_ALL)
    assert isinstance(made, Chat)
    assert made.conversation.tools == ({"name": "t"},)


BAD_ORDER = {
    "answer first": [("gpt", "a"), ("human", "q")],
    "two questions": [("human", "a"), ("human", "b"), ("gpt", "c"), ("gpt", "d")],
    "unknown role": [("human", "a"), ("robot", "b")],
    "system in the middle": [("human", "a"), ("gpt", "b"), ("system", "s"), ("gpt", "d")],
    "a result nobody asked for": [("human", "q"), ("observation", "r"), ("gpt", "a")],
    "no answer": [("human", "q")],
    "nothing": [],
    "a role that is no text": [(5, "q"), ("gpt", "a")],
}


@pytest.mark.parametrize("turns", BAD_ORDER.values(), ids=BAD_ORDER)
def test_messages_out_of_order_are_a_fault(turns: list[tuple[str, str]]) -> None:
    assert fault(sharegpt(*turns), formatting="sharegpt")


@pytest.mark.parametrize("call", ["not json", "{}", '{"arguments": {}}', "5", '[{"name": 5, "arguments": {}}]'])
def test_a_call_that_is_no_call_is_a_fault_with_its_message(call: str) -> None:
    said = fault(sharegpt(("human", "q"), ("function_call", call)), formatting="sharegpt")
    assert said.startswith("message 2:")
    assert call not in said or call == "5"


def test_thoughts_and_calls_are_parts() -> None:
    turns = [("human", "q"), ("function_call", '{"name": "t", "arguments": {"x": 1}}'), ("observation", "r")]
    said = messages(sharegpt(*turns, ("gpt", "<think>\nhm\n</think>\n\na")), formatting="sharegpt")
    assert said[1].parts == (ToolCall("t", {"x": 1}),)
    assert said[2].role == "tool"
    assert said[3].parts == (Thought("hm"), Text("a"))


def test_a_system_message_overrules_the_column() -> None:
    columns = {"columns": {"messages": "conversations", "system": "system"}, "formatting": "sharegpt"}
    row = {**sharegpt(("system", "mine"), ("human", "q"), ("gpt", "a")), "system": "column"}
    assert messages(row, **columns)[0] == Message("system", (Text("mine"),))
    assert messages({**sharegpt(("human", "q"), ("gpt", "a")), "system": "column"}, **columns)[0].text == "column"


def test_openai_calls_results_and_reasoning_are_read() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "t", "arguments": '{"x": 1}'}}
    row = openai(
        {"role": "user", "content": [{"type": "text", "text": "q"}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "a"},
    )
    said = messages(row, formatting="openai")
    assert [message.role for message in said] == ["user", "assistant", "tool", "assistant"]
    assert said[1].parts == (Thought("hm"), ToolCall("t", {"x": 1}, "c"))


def test_openai_rows_get_no_words_of_a_vendor() -> None:
    row = openai({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"})
    assert [message.role for message in messages(row, formatting="openai")] == ["user", "assistant"]


def test_openai_answers_keep_what_is_said_beside_a_call_and_whether_to_learn_it() -> None:
    call = {"function": {"name": "t", "arguments": {}}}
    row = openai(
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "w", "tool_calls": [call], "train": False}
    )
    answer = messages(row, formatting="openai")[-1]
    assert answer.parts == (Text("w"), ToolCall("t", {}))
    assert answer.learn is False


MEDIA = {"columns": {"prompt": "instruction", "response": "output", "images": "images"}}


def test_media_stand_where_their_placeholders_are() -> None:
    row = {"instruction": "<image>a<image>b", "output": "o", "images": ["1.png", "2.png"]}
    parts = messages(row, **MEDIA)[0].parts
    assert parts == (Media("image", "1.png"), Text("a"), Media("image", "2.png"), Text("b"))


def test_a_placeholder_in_a_row_without_media_is_text() -> None:
    assert messages({"instruction": "<image>a", "output": "o"}, **MEDIA)[0].parts == (Text("<image>a"),)


@pytest.mark.parametrize("images", [["1.png"], ["1.png", "2.png", "3.png"]])
def test_more_or_fewer_placeholders_than_media_are_a_fault_with_both_numbers(images: list[str]) -> None:
    said = fault({"instruction": "<image><image>", "output": "o", "images": images}, **MEDIA)
    assert "2 `<image>`" in said
    assert f"{len(images)} images" in said


def test_an_unknown_format_comes_with_the_nearest() -> None:
    with pytest.raises(DataError, match="sharegpt"):
        load_format("sharegtp")
