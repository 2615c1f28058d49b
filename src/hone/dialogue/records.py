"""One datum in our own shape, whatever file format it came from."""

from __future__ import annotations

from dataclasses import dataclass

from hone.dialogue.message import Conversation, Message


@dataclass(frozen=True)
class Origin:
    """Where a record was read: the data set's name, the file, and the row (counted from 1) or line."""

    dataset: str = ""
    file: str = ""
    row: int = 0

    def __str__(self) -> str:
        return f"{self.file or self.dataset}:{self.row}"


@dataclass(frozen=True)
class Chat:
    """A conversation to learn from (`sft`), or to continue."""

    conversation: Conversation
    origin: Origin = Origin()


@dataclass(frozen=True)
class Preference:
    """A better and a worse answer to one conversation (`rm`, `dpo`)."""

    prompt: Conversation
    chosen: Message
    rejected: Message
    origin: Origin = Origin()


@dataclass(frozen=True)
class Feedback:
    """A conversation whose last answer was liked or not (`kto`)."""

    conversation: Conversation
    good: bool
    origin: Origin = Origin()


@dataclass(frozen=True)
class Document:
    """Plain text (`pt`)."""

    text: str
    origin: Origin = Origin()


Record = Chat | Preference | Feedback | Document
