"""OpenAI messages: `content` as text or parts, `tool_calls`, `reasoning_content`, results of parallel calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any, Literal

from hone.data import cells
from hone.data.book import USUAL_TAGS, Entry, Tags
from hone.data.formats import sharegpt
from hone.data.row import RowFault
from hone.dialogue.message import Media, Message, Part, Text, Thought, ToolCall, one_message
from hone.dialogue.records import Record

OWN_TAGS = Tags("role", "content", "user", "assistant", "tool", "function_call", "system")
MEDIA: Mapping[str, Literal["image", "video", "audio"]] = {
    "image": "image", "image_url": "image", "input_image": "image",
    "video": "video", "video_url": "video",
    "audio": "audio", "audio_url": "audio", "input_audio": "audio",
}  # fmt: skip
TEXTS = ("text", "input_text", "output_text")


def record(row: Mapping[str, Any], entry: Entry) -> Record:
    """The record of a row with OpenAI messages. Without `tags` the names are OpenAI's own."""
    if entry.tags == USUAL_TAGS:
        entry = replace(entry, tags=OWN_TAGS)
    key = entry.columns.messages
    if key == "conversations" and key not in row and "messages" in row:
        key = "messages"
    if key is None or key not in row:
        raise cells.absent(row, key or "messages")
    messages = read_messages(cells.messages(row, key), entry)
    return sharegpt.from_messages(messages, row, entry, read=_message)


def read_messages(items: Sequence[Any], entry: Entry, *, first: int = 0) -> list[Message]:
    """A list of messages, counted from `first` (0: a system message may be the first)."""
    messages = [_message(item, entry, number) for number, item in enumerate(items, start=first)]
    for number, (before, message) in enumerate(pairwise((None, *messages)), start=first + 1):
        if message is not None and message.role == "tool" and not _called(before):
            raise RowFault(f"message {number} is the result of a call that nobody made", "DATA-ROLES")
    return _merged(messages)


def _called(before: Message | None) -> bool:
    return before is not None and (before.role == "tool" or bool(before.calls))


def _message(item: Any, entry: Entry, number: int) -> Message:
    if not isinstance(item, dict):
        raise RowFault(f"message {number + 1} is {cells.kind_of(item)}, not an object")
    tags = entry.tags
    content_tag = tags.content_tag or "content"
    role = item.get(tags.role_tag or "role")
    # `developer` is the newer name of the system's role; `content` may be left out beside calls.
    role = tags.system_tag if role == "developer" else role
    content = _parts(item.get(content_tag), content_tag, number)
    text = "".join(part.text for part in content if isinstance(part, Text))
    plain = {**item, (tags.role_tag or "role"): role, content_tag: text}
    spoken = sharegpt.message(plain, entry, number)
    if any(isinstance(part, Media) for part in content):
        spoken = replace(spoken, parts=tuple(content))
    return _with_calls(spoken, item, number) if spoken.role == "assistant" else spoken


def _with_calls(spoken: Message, item: Mapping[str, Any], number: int) -> Message:
    thought = next((item[key] for key in ("reasoning_content", "reasoning") if isinstance(item.get(key), str)), "")
    parts = [Thought(thought)] if thought else []
    given = item.get("tool_calls") or ()
    if not isinstance(given, list | tuple):
        raise RowFault(f"message {number + 1}: `tool_calls` is {cells.kind_of(given)}, not a list", "DATA-CALL")
    calls = [_call(call, number) for call in given]
    said = () if calls and not spoken.text else spoken.parts
    return replace(spoken, parts=(*parts, *said, *calls))


def _parts(content: Any, tag: str, number: int) -> list[Part]:
    """The content of a message as parts: texts, and media where they stand."""
    if content is None or isinstance(content, str):
        return [Text(content)] if content else []
    if not isinstance(content, list):
        raise RowFault(f"message {number + 1}: `{tag}` is {cells.kind_of(content)}, not text")
    return [_part(part, f"message {number + 1}: `{tag}`") for part in content]


def _part(part: Any, where: str) -> Part:
    if isinstance(part, str):
        return Text(part)
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in TEXTS and isinstance(part.get("text"), str):
        return Text(part["text"])
    if not isinstance(kind, str) or kind not in MEDIA:
        raise RowFault(f"{where} has a part of an unknown type {kind!r:.40}")
    source = part.get(kind, part.get("path", part.get("url")))
    if isinstance(source, dict):
        source = source.get("url", source.get("path", source.get("data")))
    if not isinstance(source, str | bytes) or not source:
        raise RowFault(f"{where} has a part of type `{kind}` without a path or URL")
    return Media(MEDIA[kind], source)


def _call(call: Any, number: int) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowFault(f"message {number + 1}: a tool call without a function name", "DATA-CALL")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise RowFault(f"message {number + 1}: the call's arguments are not JSON", "DATA-CALL") from None
    return ToolCall(function["name"], arguments, str(call.get("id") or ""))


def _merged(messages: list[Message]) -> list[Message]:
    """Results of parallel calls as one message, each a part of its own."""
    merged: list[Message] = []
    for is_result, group in groupby(messages, key=lambda message: message.role == "tool"):
        listed = list(group)
        merged += [one_message(listed)] if is_result else listed
    return merged
