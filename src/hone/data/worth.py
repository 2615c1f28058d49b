"""Which records a stage can use at all, and which would teach nothing."""

from __future__ import annotations

import hashlib
from typing import Any

from hone.data.row import RowFault
from hone.dialogue.message import Conversation, Media, Message, Text, Thought
from hone.dialogue.records import Chat, Document, Feedback, Preference, Record
from hone.media.viewer import PLURALS as PLURALS

PLACEHOLDERS = ("{{name}}", "{{author}}")
"""What the identity set has where a name belongs."""


def as_wanted(record: Record, wanted: type[Any], *, unseen: str = "") -> Record:
    """The record as the stage's kind. Raises RowFault where it is another, and where it has media that are not seen
    (`unseen` says why): training on its words alone would teach answers to what the model cannot see."""
    if unseen:
        _refuse_media(record, unseen)
    if isinstance(record, wanted):
        return record
    if wanted is Document and isinstance(record, Chat):
        return _document(record)
    missing = {
        Preference: "no better and worse answer (`chosen` and `rejected`)",
        Feedback: "no true-or-false tag (`kto_tag`)",
        Chat: "a pair or a tag where a plain conversation is needed",
    }
    raise RowFault(missing.get(wanted, "another kind of row than the stage needs"), "DATA-STAGE")


def _refuse_media(record: Record, unseen: str) -> None:
    for medium in media_of(record):
        raise RowFault(f"the row has {PLURALS[medium.kind]}, {unseen}", "DATA-MEDIA")


def media_of(record: Record) -> list[Media]:
    """The pictures, videos and sounds of a record, in order."""
    if isinstance(record, Document):
        return []
    conversation = record.prompt if isinstance(record, Preference) else record.conversation
    sides = (record.chosen, record.rejected) if isinstance(record, Preference) else ()
    messages = (*conversation.messages, *sides)
    return [part for message in messages for part in message.parts if isinstance(part, Media)]


def _document(record: Chat) -> Document:
    messages = record.conversation.messages
    if len(messages) != 1 or messages[0].role != "user":
        raise RowFault('plain text is needed here: set `columns` to {"prompt": …} alone', "DATA-STAGE")
    return Document(messages[0].text)


def nothing_to_learn(record: Record, *, mask_history: bool = False) -> str:
    """Why the record would teach nothing, or an empty string."""
    if isinstance(record, Document):
        return "" if record.text.strip() else "empty text"
    if isinstance(record, Preference):
        return "" if _says(record.chosen) or _says(record.rejected) else "empty answers"
    messages = record.conversation.messages
    if not messages or messages[-1].role != "assistant":
        return "no answer"
    last_only = mask_history or isinstance(record, Feedback)
    for message in reversed(messages):
        if message.role == "assistant":
            if message.learn is not False and _says(message):
                return ""
            if last_only:
                break
    return "empty answer"


def _says(message: Message) -> bool:
    return any(
        not isinstance(part, Text | Thought) or (part.text and not part.text.isspace()) for part in message.parts
    )


def whole_text(record: Record) -> str:
    """All that a record says, in one text that no other record has."""
    words: list[str] = []
    if isinstance(record, Document):
        words.append(record.text)
    elif isinstance(record, Preference):
        _add_spoken(words, record.prompt)
        words += [repr(record.chosen.parts), repr(record.rejected.parts)]
    else:
        _add_spoken(words, record.conversation)
        words.append(repr(record.good) if isinstance(record, Feedback) else "")
    return "\x1f".join([*words, ""])


def digest(text: str) -> int:
    """A 64-bit hash of what a record says, wherever it came from."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def has_placeholder(text: str) -> bool:
    """Whether a name was left to be filled in."""
    return "{{" in text and any(mark in text for mark in PLACEHOLDERS)


def _add_spoken(words: list[str], conversation: Conversation) -> None:
    for message in conversation.messages:
        words.append(message.role)
        words += [part.text if isinstance(part, Text) else repr(part) for part in message.parts]
    if conversation.tools:
        words.append(repr(conversation.tools))
