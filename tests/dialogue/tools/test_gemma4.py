"""Gemma 4's notation for calls: sorted keys, strings between tokens, and what is not in it."""

from __future__ import annotations

import pytest

from hone.dialogue.message import Text, ToolCall
from hone.dialogue.slots import joined
from hone.dialogue.tools import gemma4

QUOTE = '<|"|>'


def test_strings_may_hold_commas_and_braces() -> None:
    call = ToolCall("k", {"p": "a,b:c{d}", "q": "<a href='x'>\"q\"</a>"})
    assert gemma4.read(joined(gemma4.write([call]))) == [call]


def test_keys_are_sorted() -> None:
    assert joined(gemma4.write([ToolCall("g", {"z": 1, "a": 2})])) == "<|tool_call>call:g{a:2,z:1}<tool_call|>"


def test_text_around_calls_is_kept() -> None:
    text = "ok <|tool_call>call:a{}<tool_call|> and <|tool_call>call:b{x:null}<tool_call|> done"
    assert gemma4.read(text) == [
        Text("ok "),
        ToolCall("a", {}),
        Text(" and "),
        ToolCall("b", {"x": None}),
        Text(" done"),
    ]


@pytest.mark.parametrize("inside", ["x=1", "x:", "{" * 500, f"x:{QUOTE}open", "x:1 y:2", "raw text"])
def test_arguments_in_no_notation_are_a_text_as_written(inside: str) -> None:
    """Nothing is lost: it is what writing a text as arguments gives."""
    assert gemma4.read(f"<|tool_call>call:a{{{inside}}}<tool_call|>") == [ToolCall("a", inside)]


@pytest.mark.parametrize("text", ["x:1", "x:1}", "raw<|tool_call>call:b{}<tool_call|>"])
def test_a_call_without_its_end_stays_text(text: str) -> None:
    assert gemma4.read(f"<|tool_call>call:a{{{text}") is None


def test_a_declaration_names_types_in_capitals() -> None:
    tool = {"name": "f", "description": "D", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}
    assert joined(gemma4.describe([tool])) == (
        f"declaration:f{{description:{QUOTE}D{QUOTE},parameters:{{properties:{{x:{{type:{QUOTE}STRING{QUOTE}}}}},"
        f"type:{QUOTE}OBJECT{QUOTE}}}}}"
    )
