"""Texts of a data set as messages: what a user asked, what a tool said, what the model answered, thought and called."""

from __future__ import annotations

from hone.data.row import RowFault
from hone.dialogue.message import Message, Text
from hone.dialogue.template import Words
from hone.dialogue.wording import read_message
from hone.errors import DataError


def system(text: str) -> list[Message]:
    """The system message, or none where nothing is said."""
    return [Message("system", (Text(text),))] if text else []


def said(role: str, text: str, words: tuple[Words, ...] = ()) -> Message:
    """A message of role user, assistant, function (the text is tool calls) or observation. Raises RowFault.

    `words` are those that may stand around thoughts and calls.
    """
    try:
        return read_message(role, text, *words)
    except DataError as error:
        raise RowFault(error.faults[0].what, error.faults[0].code) from None
