"""OpenAI messages: calls, thoughts, parts, roles, results of parallel calls, and what a message says of its weight."""

from __future__ import annotations

from typing import Any

import pytest

from hone.data.book import Entry, look_up
from hone.data.formats import load_format
from hone.data.row import RowFault
from hone.dialogue.message import Media, Message, NextResult, Text, Thought, ToolCall
from hone.dialogue.records import Chat

OPENAI: Entry = look_up(["x"], {"x": {"file_name": "x.json", "formatting": "openai"}})[0]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


def messages(*turns: dict[str, Any]) -> tuple[Message, ...]:
    made = load_format("openai")({"messages": list(turns)}, OPENAI)
    assert isinstance(made, Chat)
    return made.conversation.messages


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_reasoning_content_is_a_thought_and_stands_first() -> None:
    answer = messages(turn("user", "q"), turn("assistant", "a", reasoning_content="hm"))[1]
    assert answer.parts == (Thought("hm"), Text("a"))


def test_the_developer_is_the_system() -> None:
    assert messages(turn("developer", "s"), turn("user", "q"), turn("assistant", "a"))[0] == Message(
        "system", (Text("s"),)
    )


def test_calls_without_content_or_with_none_are_an_answer() -> None:
    for asking in (
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL]},
    ):
        answer = messages(turn("user", "q"), asking)[1]
        assert answer.parts == (ToolCall("f", {"x": 1}, "c1"),)


def test_results_of_parallel_calls_are_parts_of_one_message() -> None:
    results = messages(
        turn("user", "q"), turn("assistant", "", tool_calls=[CALL, CALL]), turn("tool", "1"), turn("tool", "2"),
        turn("assistant", "a"),
    )[2]  # fmt: skip
    assert results.parts == (Text("1"), NextResult(), Text("2"))


def test_media_stand_where_they_stood_among_the_parts() -> None:
    parts = [{"type": "text", "text": "see "}, {"type": "image_url", "image_url": {"url": "p.png"}},
             {"type": "text", "text": " and "}, {"type": "video", "video": "v.mp4"}]  # fmt: skip
    asked = messages(turn("user", parts), turn("assistant", "a"))[0]
    assert asked.parts == (Text("see "), Media("image", "p.png"), Text(" and "), Media("video", "v.mp4"))


@pytest.mark.parametrize(("wish", "learn"), [({"train": False}, False), ({"train": True}, True), ({"weight": 0}, False),
                                             ({"weight": 1.0}, True), ({}, None)])  # fmt: skip
def test_a_message_says_whether_it_is_learned(wish: dict[str, Any], learn: bool | None) -> None:
    assert messages(turn("user", "q"), turn("assistant", "a", **wish))[1].learn is learn


FAULTS = {
    "half a weight": (turn("assistant", "a", weight=0.5), "`weight` is 0.5; a message is learned"),
    "a weight in words": (turn("assistant", "a", weight="1"), "`weight` is '1'"),
    "train in words": (turn("assistant", "a", train="no"), "`train` is text, not true or false"),
    "two wishes": (turn("assistant", "a", train=True, weight=0), "the opposite"),
    "an unknown part": (turn("assistant", [{"type": "smell"}]), "unknown type 'smell'"),
    "a part without a place": (turn("assistant", [{"type": "image_url", "image_url": {}}]), "without a path or URL"),
    "calls that are no list": (turn("assistant", "", tool_calls="f()"), "`tool_calls` is text, not a list"),
    "broken arguments": (turn("assistant", "", tool_calls=[{"function": {"name": "f", "arguments": "{"}}]), "not JSON"),
}


@pytest.mark.parametrize(("answer", "what"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_read_is_a_fault_with_the_number_of_the_message(answer: dict[str, Any], what: str) -> None:
    with pytest.raises(RowFault, match=what) as raised:
        messages(turn("user", "q"), answer)
    assert "message 2" in raised.value.what


def test_a_question_cannot_be_learned_by_itself() -> None:
    with pytest.raises(RowFault, match="only answers can be learned one by one"):
        messages(turn("user", "q", train=True), turn("assistant", "a"))


@pytest.mark.parametrize("before", [[], [turn("user", "q")], [turn("user", "q"), turn("assistant", "a")]])
def test_a_result_of_a_call_that_nobody_made_is_a_fault(before: list[dict[str, Any]]) -> None:
    with pytest.raises(RowFault, match=f"message {len(before) + 1} is the result of a call that nobody made"):
        messages(*before, turn("tool", "1"), turn("assistant", "b"))
