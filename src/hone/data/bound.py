"""Texts far beyond the limit are shortened before they are tokenised: a row of megabytes must not cost gigabytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hone.data.stage import Encoded, Limits
from hone.dialogue.message import Conversation, Message, Text
from hone.dialogue.records import Chat, Document, Feedback, Preference, Record

FEWEST = 1_000_000
"""No text shorter than this many letters is touched."""
LETTERS = 64
"""No more letters than this stand for one token, as a mean over a long text."""


@dataclass
class Bounded:
    """A record, perhaps shortened: how many letters stayed, and how many went, of all and of answers."""

    record: Record
    kept: int = 0
    lost: int = 0
    lost_answers: int = 0

    def counted(self, encoded: Encoded) -> Encoded:
        """The counts with what was lost before, as tokens, estimated by how many the rest became."""
        if not self.lost:
            return encoded
        rate = (len(encoded.example.input_ids) + encoded.lost) / max(self.kept, 1)
        return replace(
            encoded,
            lost=encoded.lost + round(self.lost * rate),
            lost_learned=encoded.lost_learned + round(self.lost_answers * rate),
        )


def bounded(record: Record, limits: Limits) -> Bounded:
    """The record with no text longer than could matter. Texts that are run on into blocks are left whole."""
    most = max(FEWEST, LETTERS * limits.cutoff_len)
    made = Bounded(record)
    if limits.stream or not _is_huge(record, most):
        return made
    if isinstance(record, Document):
        made.record = replace(record, text=_cut(record.text, most, made, answer=True))
    elif isinstance(record, Preference):
        chosen, rejected = _message(record.chosen, most, made), _message(record.rejected, most, made)
        prompt = _conversation(record.prompt, most, made)
        made.record = replace(record, prompt=prompt, chosen=chosen, rejected=rejected)
    else:
        made.record = replace(record, conversation=_conversation(record.conversation, most, made))
    return made


def _is_huge(record: Record, most: int) -> bool:
    if isinstance(record, Document):
        return len(record.text) > most
    messages: tuple[Message, ...]
    if isinstance(record, Preference):
        messages = (*record.prompt.messages, record.chosen, record.rejected)
    else:
        assert isinstance(record, Chat | Feedback)
        messages = record.conversation.messages
    for message in messages:
        for part in message.parts:
            if isinstance(part, Text) and len(part.text) > most:
                return True
    return False


def _conversation(conversation: Conversation, most: int, made: Bounded) -> Conversation:
    return replace(conversation, messages=tuple(_message(one, most, made) for one in conversation.messages))


def _message(message: Message, most: int, made: Bounded) -> Message:
    answer = message.role == "assistant"
    parts = [
        Text(_cut(part.text, most, made, answer=answer)) if isinstance(part, Text) else part for part in message.parts
    ]
    return replace(message, parts=tuple(parts))


def _cut(text: str, most: int, made: Bounded, *, answer: bool) -> str:
    kept = text[:most]
    made.kept += len(kept)
    made.lost += len(text) - len(kept)
    made.lost_answers += (len(text) - len(kept)) * answer
    return kept
