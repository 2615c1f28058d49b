"""GLM-4.5's calls: closed when written, and read back in both forms."""

from __future__ import annotations

from hone.dialogue.message import Text, ToolCall
from hone.dialogue.slots import joined
from hone.dialogue.tools import glm4_moe


def test_a_call_is_closed_and_reads_back() -> None:
    call = ToolCall("f", {"k": "v", "n": [1]})
    text = joined(glm4_moe.write([call]))
    assert text == (
        "\n<tool_call>f\n<arg_key>k</arg_key>\n<arg_value>v</arg_value>\n"
        "<arg_key>n</arg_key>\n<arg_value>[1]</arg_value>\n</tool_call>"
    )
    assert glm4_moe.read("Ok." + text) == [Text("Ok.\n"), call]


def test_calls_in_json_are_read_too() -> None:
    assert glm4_moe.read('<tool_call>{"name": "f", "arguments": {}}</tool_call>') == [ToolCall("f", {})]


def test_a_block_with_anything_else_in_it_stays_text() -> None:
    assert glm4_moe.read("<tool_call>f\nsome words <arg_key>k</arg_key>\n<arg_value>v</arg_value></tool_call>") is None
