"""Message text as data sets write it, read into parts: thoughts between thought words, function calls as JSON.

Reading and rendering with the same words gives the text back byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import Conversation, Message, NextResult, Part, Role, Text, Thought, ToolCall
from hone.dialogue.template import GENERIC, Words
from hone.errors import DataError

ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "function": "assistant", "observation": "tool"}
"""The four roles of the field's data sets, as ours."""


def read_message(role: str, text: str, *words: Words) -> Message:
    """A message of role user, assistant, function (the text is calls) or observation.

    `words` are tried in order, those of the model family first and `GENERIC` after them, as a rule.
    Raises `DataError` (DATA-TOOLCALL) for a function message that is no call, (DATA-ROLES) for another role.
    """
    if role not in ROLES:
        raise DataError.one("DATA-ROLES", f"no such role: `{role}`", fix=f"one of {', '.join(ROLES)}")
    if role == "function":
        return Message("assistant", read_function_text(text, *words))
    return Message(ROLES[role], read_text(text, *words) if role == "assistant" else _text(text))


def read_conversation(
    messages: Sequence[Mapping[str, str]], *words: Words, system: str = "", tools: str = ""
) -> Conversation:
    """A whole conversation of `{"role", "content"}` messages, a system text and the tools as JSON text."""
    offered = read_tools(tools)
    said = [read_message(one["role"], one["content"], *words) for one in messages]
    if system or (tools.strip() and not offered):  # an empty list of tools still makes an (empty) system text
        said.insert(0, Message("system", _text(system)))
    return Conversation(tuple(said), offered)


def read_tools(text: str) -> tuple[Mapping[str, Any], ...]:
    """Tool schemas from JSON text; none for blank text. Raises `DataError` (DATA-TOOLS) if it is no list of objects."""
    if not text.strip():
        return ()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise DataError.one("DATA-TOOLS", "the tools are not a JSON list of objects", text[:80])
    return tuple(value)


def read_text(text: str, *words: Words) -> tuple[Part, ...]:
    """Text and thoughts, in order. A thought that is opened and not closed stays text."""
    for pair in words or (GENERIC,):
        if pair.opening not in text:
            continue
        parts = _thoughts(text, pair.thought)
        if any(isinstance(part, Thought) for part in parts):
            return parts
    return _text(text)


def _text(text: str) -> tuple[Part, ...]:
    return (Text(text),) if text else ()


def _thoughts(text: str, words: tuple[str, str]) -> tuple[Part, ...]:
    start, end = (word.strip() for word in words)
    parts: list[Part] = []
    begin = text.find(start)
    while begin >= 0 and (close := text.find(end, begin + len(start))) >= 0:
        thought, after = _thought(text, begin + len(start), close, words)
        parts += [*_text(text[:begin]), thought]
        text = text[after:]
        begin = text.find(start)
    return (*parts, *_text(text))


def _thought(text: str, begin: int, close: int, words: tuple[str, str]) -> tuple[Thought, int]:
    """The thought between two places, and where it ends; with the white space of its words if that is the usual one."""
    start, end = (word.strip() for word in words)
    lead = words[0][words[0].index(start) + len(start) :]
    tail, trail = words[1].split(end)
    inner = text[begin:close]
    after = close + len(end)
    usual = inner.startswith(lead) and inner.endswith(tail) and len(inner) >= len(lead) + len(tail)
    if usual and text.startswith(trail, after):
        return Thought(inner[len(lead) : len(inner) - len(tail)]), after + len(trail)
    return Thought(inner, (start, end)), after


def read_function_text(text: str, *words: Words) -> tuple[Part, ...]:
    """Calls, with the thought and the words said in front of them.

    The calls are JSON, `{"name", "arguments"}` or a list of those; either nothing but a thought stands around them, or
    they are wrapped in the words for calls, and whatever else is there is kept in front.
    """
    tried = words or (GENERIC,)
    for pair in tried:
        wrapped, rest = _unwrap(text, pair.call)
        if wrapped:
            return (*read_text(rest, *tried), *(call for block in wrapped for call in read_calls(block, text)))
    parts = read_text(text, *tried)
    thoughts = [part for part in parts if isinstance(part, Thought)]
    rest = "".join(part.text for part in parts if isinstance(part, Text))
    return (*thoughts, *read_calls(rest, text))


def _unwrap(text: str, words: tuple[str, str]) -> tuple[list[str], str]:
    """What stands between each pair of call words, and the text without them."""
    start, end = words
    blocks: list[str] = []
    rest = ""
    while start in text and end in text[text.index(start) :]:
        before, _, after = text.partition(start)
        inside, _, text = after.partition(end)
        blocks.append(inside)
        rest += before
    return blocks, rest + text


def read_calls(text: str, whole: str = "") -> list[ToolCall]:
    """Calls from JSON text. Raises `DataError` (DATA-TOOLCALL) for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) and isinstance(one.get("name"), str) and "arguments" in one for one in entries):
        what = "a function message is not JSON of the form {name, arguments}"
        raise DataError.one("DATA-TOOLCALL", what, (whole or text)[:80])
    return [ToolCall(one["name"], one["arguments"], str(one.get("id") or "")) for one in entries]


def write_message(message: Message, words: Words = GENERIC) -> str:
    """A message as data sets write it: the way back from `read_message`."""
    text = "".join(_spoken(part, words) for part in message.parts if not isinstance(part, ToolCall))
    if not message.calls:
        return text
    calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
    listed = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
    return f"{text}{words.call[0]}{listed}{words.call[1]}" if message.text else text + listed


def _spoken(part: Part, words: Words) -> str:
    if isinstance(part, Thought):
        start, end = part.words or words.thought
        return start + part.text + end
    if isinstance(part, NextResult):
        return words.results
    return part.text if isinstance(part, Text) else ""
