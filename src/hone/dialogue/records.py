"""One datum in our own shape, whatever file format it came from."""

from __future__ import annotations

from dataclasses import dataclass

from hone.dialogue.message import Conversation, Message


@dataclass(frozen=True)
class Chat:
    """A conversation to learn from (`sft`), or to continue."""

    conversation: Conversation


@dataclass(frozen=True)
class Preference:
    """A better and a worse answer to one conversation (`rm`, `dpo`)."""

    prompt: Conversation
    chosen: Message
    rejected: Message


@dataclass(frozen=True)
class Feedback:
    """A conversation whose last answer was liked or not (`kto`)."""

    conversation: Conversation
    good: bool


@dataclass(frozen=True)
class Document:
    """Plain text (`pt`)."""

    text: str


Record = Chat | Preference | Feedback | Document
