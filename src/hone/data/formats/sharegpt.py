"""ShareGPT: a list of messages, each with a role and a content under the names that `tags` gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hone.data import cells
from hone.data.book import Entry
from hone.data.row import RowFault
from hone.data.speech import said, system
from hone.dialogue.message import Conversation, Message, Text
from hone.dialogue.records import Chat, Feedback, Preference, Record


def record(row: Mapping[str, Any], entry: Entry) -> Record:
    """A Preference where the set is ranked, a Feedback where it has a true-or-false tag, else a Chat."""
    return from_messages(_messages(row, entry), row, entry)


ReadMessage = Callable[[Any, Entry, int], Message]


def from_messages(
    messages: list[Message],
    row: Mapping[str, Any],
    entry: Entry,
    *,
    read: ReadMessage | None = None,
) -> Record:
    """The record of messages whose order is checked here; other columns come from the row. `read` reads a message."""
    written = system(cells.text(row, entry.columns.system))
    if messages and messages[0].role == "system":
        written, messages = system(messages[0].text), messages[1:]
    messages = [*written, *messages]
    tools = cells.tools(row, entry.columns.tools)
    check_order(messages, answered=not entry.ranking)
    messages = cells.place_media(messages, cells.media(row, entry))
    conversation = Conversation(tuple(messages), tools)
    liked = row.get(entry.columns.kto_tag) if entry.columns.kto_tag else None
    if isinstance(liked, bool):
        return Feedback(conversation, liked)
    if entry.ranking:
        sides = (entry.columns.chosen, entry.columns.rejected)
        pair = [_answer(row, side, entry, read or message) for side in sides]
        return Preference(conversation, pair[0], pair[1])
    return Chat(conversation)


def check_order(messages: list[Message], *, answered: bool) -> None:
    """Asked and answered must take turns, and the last message be an answer (a question, where `answered` is False)."""
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not turns:
        raise RowFault("the conversation is empty", "DATA-ROLES")
    for number, message in enumerate(turns):
        expected = ("assistant",) if number % 2 else ("user", "tool")
        if message.role not in expected:
            raise RowFault(
                f"message {number + 1} is from the {message.role}, where {' or '.join(expected)} should speak",
                "DATA-ROLES",
            )
    if (len(turns) % 2 == 0) != answered:
        last = "an answer" if answered else "a question"
        raise RowFault(f"the conversation does not end with {last}", "DATA-ROLES")


def _messages(row: Mapping[str, Any], entry: Entry) -> list[Message]:
    key = entry.columns.messages
    if key is None:
        raise RowFault("`columns` in dataset_info.json does not say where the messages are")
    if key not in row:
        raise cells.absent(row, key)
    return [message(item, entry, number) for number, item in enumerate(cells.messages(row, key))]


def message(item: Any, entry: Entry, number: int) -> Message:
    """One message of the list; only the first may be the system's."""
    tags = entry.tags
    if tags.role_tag is None or tags.content_tag is None:
        raise RowFault("`tags` in dataset_info.json does not say where role and content are")
    where = f"message {number + 1}"
    if not isinstance(item, dict):
        raise RowFault(f"{where} is {cells.kind_of(item)}, not an object")
    for tag in (tags.role_tag, tags.content_tag):
        if tag not in item:
            raise RowFault(f"{where}: {cells.absent(item, tag).what}")
    role, content = item[tags.role_tag], item[tags.content_tag]
    if not isinstance(content, str | None):
        raise RowFault(f"{where}: `{tags.content_tag}` is {cells.kind_of(content)}, not text")
    spoken = _by_role(role, content or "", entry, number, where)
    learn = _wish(item, where)
    if learn and spoken.role != "assistant":
        raise RowFault(f"{where}: only answers can be learned one by one, and this is from the {spoken.role}")
    return replace(spoken, learn=learn) if spoken.role == "assistant" and learn is not None else spoken


def _wish(item: Mapping[str, Any], where: str) -> bool | None:
    """Whether a message says of itself that it is learned (`train`, or `weight` 1) or not (`weight` 0)."""
    train, weight = item.get("train"), item.get("weight")
    if train is not None and not isinstance(train, bool):
        raise RowFault(f"{where}: `train` is {cells.kind_of(train)}, not true or false")
    if weight is None:
        return train
    if isinstance(weight, bool) or weight not in (0, 1):
        raise RowFault(f"{where}: `weight` is {weight!r:.20}; a message is learned (1) or not (0), nothing between")
    if train is not None and train != bool(weight):
        raise RowFault(f"{where}: `train` and `weight` say the opposite of each other")
    return bool(weight)


def _by_role(role: Any, content: str, entry: Entry, number: int, where: str) -> Message:
    tags = entry.tags
    if number == 0 and isinstance(role, str) and role == tags.system_tag:
        return Message("system", (Text(content),))
    # Where one name stands for two roles, the later of this list is meant.
    names = {
        tags.user_tag: "user",
        tags.assistant_tag: "assistant",
        tags.observation_tag: "observation",
        tags.function_tag: "function",
    }
    if not isinstance(role, str) or role not in names:
        raise RowFault(f"{where}: unknown role {role!r:.40}", "DATA-ROLES")
    try:
        return said(names[role], content, entry.words)
    except RowFault as fault:
        raise RowFault(f"{where}: {fault.what}", fault.code) from None


def _answer(row: Mapping[str, Any], key: str | None, entry: Entry, read: ReadMessage) -> Message:
    if key is None:
        raise RowFault("a ranked set needs `chosen` and `rejected` in `columns`")
    item = row.get(key)
    if not isinstance(item, dict):
        raise RowFault(f"`{key}` is {cells.kind_of(item)}, not a message")
    found = read(item, entry, 1)
    if found.role != "assistant":
        raise RowFault(f"`{key}` is from the {found.role}, not an answer", "DATA-ROLES")
    return found
