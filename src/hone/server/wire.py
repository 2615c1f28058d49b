"""OpenAI's messages and tools as a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import Conversation, Media, Message, Part, Text, Thought, ToolCall, one_message
from hone.server.pictures import Look
from hone.server.refusal import RefusedError

ROLES = ("system", "developer", "user", "assistant", "tool")
DETAILS = (None, "auto", "high")
"""How closely a picture is looked at: as closely as the recipe's `image_max_pixels` lets."""
BETWEEN = Text("\n\n")
"""What stands between messages that follow each other from the same side."""


def read_conversation(messages: Any, tools: Sequence[Mapping[str, Any]], look: Look | None = None) -> Conversation:
    """The conversation of a request, pictures read by `look`. Raises RefusedError with the place as its parameter."""
    look = look or Look()
    if not isinstance(messages, list) or not messages:
        raise RefusedError("`messages` must be a list with at least one message", "messages")
    read = [_message(one, f"messages[{place}]", look) for place, one in enumerate(messages)]
    merged = _merged(read)
    for place, message in enumerate(merged):
        if message.role == "system" and place:
            raise RefusedError("a system message must stand before all others", "messages")
        if message.role == "tool" and not (place and merged[place - 1].calls):
            raise RefusedError("a tool message must answer a message with `tool_calls`", "messages")
    asked = merged[merged[0].role == "system" :]
    if not asked or asked[-1].role == "assistant":
        raise RefusedError("the last message must be from the user or a tool", "messages")
    for place, message in enumerate(asked):
        if (message.role == "assistant") is (place % 2 == 0):
            raise RefusedError("questions and answers must take turns, beginning with a question", "messages")
    return Conversation(tuple(merged), tuple(tools))


def read_tools(given: Any) -> list[Mapping[str, Any]]:
    """The tools on offer, as given. Raises RefusedError."""
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > 128:
        raise RefusedError("`tools` must be a list of up to 128 tools", "tools")
    for place, tool in enumerate(given):
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not 0 < len(name) <= 128:
            raise RefusedError("a tool must be of type `function`, with a function that has a name", f"tools[{place}]")
        described, schema = function.get("description", ""), function.get("parameters", {})
        if not isinstance(described, str | None) or not isinstance(schema, dict | None):
            raise RefusedError("a tool's description is text, its parameters an object", f"tools[{place}]")
    return given


def _message(given: Any, where: str, look: Look) -> Message:
    role = given.get("role") if isinstance(given, dict) else None
    if role not in ROLES:
        raise RefusedError(f"a message must have one of the roles {', '.join(ROLES)}", f"{where}.role")
    parts = _content(given.get("content"), f"{where}.content", look)
    if role != "user" and any(isinstance(part, Media) for part in parts):
        raise RefusedError("only messages from the user may have pictures", f"{where}.content")
    if role == "assistant":
        return Message("assistant", _answered(given, parts, where))
    if given.get("content") is None:
        raise RefusedError(f"the content of a {role} message must be given", f"{where}.content")
    return Message("system" if role == "developer" else role, tuple(parts))


def _content(content: Any, where: str, look: Look) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise RefusedError("content must be text or a list of parts", where)
    return [_part(part, f"{where}[{place}]", look) for place, part in enumerate(content)]


def _part(part: Any, where: str, look: Look) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return Text(part[kind])
    if kind == "image_url":
        return _picture(part.get("image_url"), f"{where}.image_url", look)
    raise RefusedError("only parts of the types `text` and `image_url` are supported", where)


def _picture(given: Any, where: str, look: Look) -> Media:
    url = given.get("url") if isinstance(given, dict) else None
    if not isinstance(url, str):
        raise RefusedError("`image_url` must be an object with a `url`", where)
    if given.get("detail") not in DETAILS:
        raise RefusedError("`detail` is supported only as auto or high", f"{where}.detail", code="unsupported_value")
    return look(url, where)


def _answered(given: Mapping[str, Any], said: list[Part], where: str) -> tuple[Part, ...]:
    thought = given.get("reasoning_content")
    if thought is not None and not isinstance(thought, str):
        raise RefusedError("`reasoning_content` must be text", f"{where}.reasoning_content")
    calls = [] if given.get("tool_calls") is None else given["tool_calls"]
    if not isinstance(calls, list):
        raise RefusedError("`tool_calls` must be a list", f"{where}.tool_calls")
    made = [_call(call, f"{where}.tool_calls[{place}]") for place, call in enumerate(calls)]
    spoken = [part for part in said if not isinstance(part, Text) or part.text]
    if not spoken and not made and given.get("content") is None:
        raise RefusedError("an assistant message must have content or `tool_calls`", f"{where}.content")
    return (*((Thought(thought),) if thought else ()), *spoken, *made)


def _call(call: Any, where: str) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RefusedError("a tool call must have a function with a name", where)
    arguments = function.get("arguments")
    try:
        read = json.loads(arguments or "{}") if isinstance(arguments, str | None) else None
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise RefusedError("the arguments of a call must be the JSON text of an object", f"{where}.function.arguments")
    identity = call.get("id")
    return ToolCall(function["name"], read, identity if isinstance(identity, str) else "")


def _merged(messages: Sequence[Message]) -> list[Message]:
    """Messages in a row from the same side as one: results of parallel calls, several questions, several rules."""
    groups: list[list[Message]] = []
    for message in messages:
        if groups and groups[-1][0].role == message.role:
            groups[-1].append(message)
        else:
            groups.append([message])
    return [_one(group) for group in groups]


def _one(group: Sequence[Message]) -> Message:
    if group[0].role == "tool":
        return one_message(group)
    parts: list[Part] = []
    for place, message in enumerate(group):
        parts += [BETWEEN, *message.parts] if place else message.parts
    return Message(group[0].role, tuple(parts))
