"""Alpaca: an instruction with an optional input, an answer, and earlier question-answer pairs as history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hone.data import cells
from hone.data.book import Entry
from hone.data.row import RowFault
from hone.data.speech import said, system
from hone.dialogue.message import Conversation, Message
from hone.dialogue.records import Chat, Feedback, Preference, Record


def record(row: Mapping[str, Any], entry: Entry) -> Record:
    """A Preference where the set is ranked, a Feedback where it has a true-or-false tag, else a Chat."""
    columns = entry.columns
    given = [*system(cells.text(row, columns.system)), *_history(row, entry), _question(row, entry)]
    tools = cells.tools(row, columns.tools)
    found = cells.media(row, entry)
    answer = said("assistant", cells.text(row, columns.response), entry.words)
    liked = row.get(columns.kto_tag) if columns.kto_tag else None
    if isinstance(liked, bool):
        messages = cells.place_media([*given, answer], found)
        return Feedback(Conversation(tuple(messages), tools), liked)
    if entry.ranking and (pair := _pair(row, entry)):
        return Preference(Conversation(tuple(cells.place_media(given, found)), tools), *pair)
    answered = [answer] if columns.response is not None and row.get(columns.response) is not None else []
    return Chat(Conversation(tuple(cells.place_media([*given, *answered], found)), tools))


def _question(row: Mapping[str, Any], entry: Entry) -> Message:
    wanted = [key for key in (entry.columns.prompt, entry.columns.query) if key is not None]
    asked = [words for key in wanted if (words := cells.text(row, key))]
    if not asked and wanted and not [key for key in wanted if key in row]:
        raise cells.absent(row, wanted[0])
    return said("user", "\n".join(asked))


def _history(row: Mapping[str, Any], entry: Entry) -> list[Message]:
    key = entry.columns.history
    pairs = row.get(key) if key is not None else None
    if not pairs:
        return []
    if not isinstance(pairs, list):
        raise RowFault(f"`{key}` is {cells.kind_of(pairs)}, not a list of pairs")
    messages: list[Message] = []
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(words, str) for words in pair)):
            raise RowFault(f"`{key}` holds something else than pairs of texts")
        messages += [said("user", pair[0]), said("assistant", pair[1], entry.words)]
    return messages


def _pair(row: Mapping[str, Any], entry: Entry) -> tuple[Message, Message] | None:
    chosen, rejected = entry.columns.chosen, entry.columns.rejected
    if chosen is None or rejected is None or row.get(chosen) is None or row.get(rejected) is None:
        return None
    better, worse = cells.text(row, chosen), cells.text(row, rejected)
    return said("assistant", better, entry.words), said("assistant", worse, entry.words)
