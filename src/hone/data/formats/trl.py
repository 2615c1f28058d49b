"""TRL's forms: a prompt with a completion (liked or not), or a better and a worse answer, as texts or as messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from hone.data import cells
from hone.data.book import Entry
from hone.data.formats import openai, sharegpt
from hone.data.row import RowFault
from hone.data.speech import said, system
from hone.dialogue.message import Conversation, Message
from hone.dialogue.records import Chat, Feedback, Preference, Record

_SPEAKERS = re.compile(r"\n\n(Human|Assistant):[ \t]?")


def record(row: Mapping[str, Any], entry: Entry) -> Record:
    """A Preference of `chosen` and `rejected`; of a `completion` a Feedback where it is tagged, else a Chat, of which
    the completion alone is learned."""
    if "chosen" in row and "rejected" in row:
        return _preference(row, entry)
    asked = [_unlearned(message) for message in _prompt(row, entry)]
    answers = _messages(row.get("completion"), "completion", "assistant", entry)
    conversation = _conversation(row, entry, [*asked, *answers], answered=bool(answers))
    liked = row.get(entry.columns.kto_tag) if entry.columns.kto_tag else None
    if isinstance(liked, bool):
        return Feedback(conversation, liked)
    return Chat(conversation)


def _preference(row: Mapping[str, Any], entry: Entry) -> Preference:
    better = _side(row, "chosen", entry)
    worse = _side(row, "rejected", entry)
    prompt = _prompt(row, entry) if entry.columns.prompt else []
    if not prompt and isinstance(row["chosen"], str) and not _SPEAKERS.match(row["chosen"]):
        prompt, better, worse = _split(row["chosen"], row["rejected"], entry)
    shared = _shared(better, worse)
    # Either side may begin with the whole conversation so far, its last message being the answer.
    shared = min(shared, len(better) - 1, len(worse) - 1)
    if shared and better[:shared] != prompt[-shared:]:
        prompt = [*prompt, *better[:shared]]
    better, worse = better[shared:], worse[shared:]
    for key, side in (("chosen", better), ("rejected", worse)):
        if len(side) != 1 or side[0].role != "assistant":
            raise RowFault(f"`{key}` is not one answer to the same conversation as the other", "DATA-ROLES")
    return Preference(_conversation(row, entry, prompt, answered=False), better[0], worse[0])


def _side(row: Mapping[str, Any], key: str, entry: Entry) -> list[Message]:
    value = row[key]
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, str) and _SPEAKERS.match(value):
        return _spoken(value, entry)
    found = _messages(value, key, "assistant", entry)
    if not found:
        raise RowFault(f"`{key}` is missing")
    return found


def _prompt(row: Mapping[str, Any], entry: Entry) -> list[Message]:
    key = entry.columns.prompt or "prompt"
    value = row.get(key)
    if isinstance(value, str):
        more = cells.text(row, entry.columns.query)
        value = "\n".join(words for words in (value, more) if words)
    return _messages(value, key, "user", entry)


def _messages(value: Any, key: str, role: str, entry: Entry) -> list[Message]:
    """A text as one message of `role`, or a list of OpenAI messages."""
    if value is None:
        return []
    if isinstance(value, str):
        return [said(role, value, entry.words)]
    if not isinstance(value, list):
        raise RowFault(f"`{key}` is {cells.kind_of(value)}, neither text nor a list of messages")
    first = 0 if role == "user" else 1
    return openai.read_messages(value, replace(entry, tags=openai.OWN_TAGS), first=first)


def _conversation(row: Mapping[str, Any], entry: Entry, messages: Sequence[Message], *, answered: bool) -> Conversation:
    messages = list(messages)
    if not (messages and messages[0].role == "system"):
        messages = [*system(cells.text(row, entry.columns.system)), *messages]
    sharegpt.check_order(messages, answered=answered)
    return Conversation(
        tuple(cells.place_media(messages, cells.media(row, entry))), cells.tools(row, entry.columns.tools)
    )


def _spoken(text: str, entry: Entry) -> list[Message]:
    """`\\n\\nHuman: … \\n\\nAssistant: …` as messages."""
    _, *pieces = _SPEAKERS.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        said(roles[speaker], words.strip(), entry.words)
        for speaker, words in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def _split(chosen: Any, rejected: Any, entry: Entry) -> tuple[list[Message], list[Message], list[Message]]:
    """Two texts without a prompt: what both begin with, up to a space, was asked (as TRL has it)."""
    if not isinstance(rejected, str):
        raise RowFault(f"`rejected` is {cells.kind_of(rejected)}, `chosen` is text")
    shared = chosen[: _shared(chosen, rejected)]
    end = max((shared.rfind(space) for space in " \n\t"), default=-1)
    prompt = shared[: max(end, 0)].strip()
    if not prompt:
        raise RowFault("`chosen` and `rejected` have no `prompt` and begin with nothing in common")
    answers = [[said("assistant", text[end:].strip(), entry.words)] for text in (chosen, rejected)]
    return [said("user", prompt)], answers[0], answers[1]


def _shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items (or letters) two sequences have in common at their start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _unlearned(message: Message) -> Message:
    """Of a prompt and its completion only the completion is learned, even where the prompt has answers."""
    return replace(message, learn=False) if message.role == "assistant" and message.learn is None else message
