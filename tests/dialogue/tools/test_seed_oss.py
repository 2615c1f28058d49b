"""Seed-OSS's calls: well formed when written, and read in either form."""

from __future__ import annotations

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import joined
from hone.dialogue.tools import seed_oss

CALL = ToolCall("f", {"k": "v"})


def test_the_functions_word_is_closed() -> None:
    text = joined(seed_oss.write([CALL]))
    assert text == "\n<seed:tool_call>\n<function=f>\n<parameter=k>v</parameter>\n</function>\n</seed:tool_call>"


def test_an_unclosed_word_is_read_too() -> None:
    text = "<seed:tool_call>\n<function=f\n<parameter=k>v</parameter>\n</function>\n</seed:tool_call>"
    assert seed_oss.read(text) == [CALL]
