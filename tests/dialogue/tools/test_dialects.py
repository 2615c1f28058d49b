"""All dialects: what they write they read, and what they cannot read stays text."""

from __future__ import annotations

import pytest

from hone.dialogue.message import Text, ToolCall
from hone.dialogue.slots import joined
from hone.dialogue.tools import dialect, dialect_names
from hone.errors import DataError, ModelError

CALLS = [
    ToolCall("add", {"a": 1, "b": -2.5}),
    ToolCall("mix", {"t": True, "n": None, "l": [1, "a", {"k": False}], "d": {"x": {"y": "z"}}, "s": "two\nlines <b>"}),
    ToolCall("now", {}),
    ToolCall("find", {"q": "猫 (dog), [x] {y}: z"}),
]
SCHEMA = {
    "name": "add",
    "description": "Add two numbers",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number", "description": "first"}},
        "required": ["a"],
    },
}


@pytest.mark.parametrize("name", dialect_names())
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_what_a_dialect_writes_it_reads_back(name: str, call: ToolCall) -> None:
    if name == "lfm2" and call.name == "mix":
        call = ToolCall("mix", {**call.arguments, "s": "one line"})  # the family does not escape strings
    assert [part for part in dialect(name).read(joined(dialect(name).write([call]))) or () if part != Text("\n")] == [
        call
    ]


@pytest.mark.parametrize("name", [name for name in dialect_names() if name != "glm4"])
def test_several_calls_are_read_back(name: str) -> None:
    calls = [CALLS[0], CALLS[2], CALLS[3]]
    found = dialect(name).read(joined(dialect(name).write(calls))) or []
    assert [part for part in found if isinstance(part, ToolCall)] == calls


@pytest.mark.parametrize("name", dialect_names())
@pytest.mark.parametrize(
    "text", ["", "plain", "42", "null", "[]", "{}", "<tool_calls>\n\n</tool_calls>", "f(", "Action: x"]
)
def test_a_text_without_a_readable_call_stays_text(name: str, text: str) -> None:
    assert dialect(name).read(text) is None


@pytest.mark.parametrize("name", dialect_names())
def test_tools_are_described_bare_or_wrapped(name: str) -> None:
    wrapped = {"type": "function", "function": SCHEMA}
    for tool in (SCHEMA, wrapped):
        text = joined(dialect(name).describe([tool]))
        assert "add" in text and "Add two numbers" in text


@pytest.mark.parametrize("name", ["minimax1", "minimax2"])
def test_a_flat_tool_is_described(name: str) -> None:
    assert "Add two numbers" in joined(dialect(name).describe([{"type": "function", **SCHEMA}]))


@pytest.mark.parametrize("name", ["default", "glm4", "gemma4"])
def test_a_tool_without_a_name_is_refused_where_the_name_is_needed(name: str) -> None:
    with pytest.raises(DataError) as caught:
        dialect(name).describe([{"description": "x", "parameters": {"properties": {}}}])
    assert caught.value.faults[0].code == "DATA-TOOLS"


@pytest.mark.parametrize("name", ["glm4_moe", "lfm2", "minimax2", "qwen3_5", "seed_oss"])
def test_arguments_that_are_no_object_are_refused_where_they_are_written_one_by_one(name: str) -> None:
    with pytest.raises(DataError) as caught:
        dialect(name).write([ToolCall("f", "raw")])
    assert caught.value.faults[0].code == "DATA-TOOLCALL"


@pytest.mark.parametrize("name", ["nope", "_json", "../x", ""])
def test_an_unknown_dialect_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="tool_format"):
        dialect(name)


@pytest.mark.parametrize("name", dialect_names())
def test_what_frames_a_call_is_the_dialects_own(name: str) -> None:
    """Only names and values come from outside; a word around them that is a control token must become one."""
    runs = dialect(name).write([ToolCall("act", {"key": "value", "n": 1})])
    assert not [run.text for run in runs if not run.own and ("<" in run.text or ">" in run.text)]
    described = dialect(name).describe([SCHEMA])
    assert not [run.text for run in described if not run.own and "<" in run.text]
