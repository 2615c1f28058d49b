"""Where the pieces of a rendered conversation come from: the card's own words, or which message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hone.dialogue.message import Conversation, Message, Text, Thought
from hone.dialogue.slots import Inked, Piece

TEMPLATE, SYSTEM, USER, RESULT = "template", "system", "user", "tool result"
ANSWER, THOUGHT, CALL, TOOLS = "answer", "thought", "tool call", "tools"


class Span(NamedTuple):
    """Letters `begin` to `end` of a piece, and what they are."""

    begin: int
    end: int
    kind: str


class Said(NamedTuple):
    """A text that should stand in the rendering, and what it is."""

    text: str
    kind: str


def expected(conversation: Conversation, turn: int, *, default_system: str | None) -> tuple[list[Said], list[Said]]:
    """What should be found in the source and in the target of a turn."""
    given = conversation.system
    messages = conversation.messages[given is not None :]
    system = [Said(given or default_system or "", SYSTEM)] if turn == 0 else []
    asked = messages[2 * turn : 2 * turn + 1]
    answered = messages[2 * turn + 1 : 2 * turn + 2]
    return [*system, *_all(asked)], list(_all(answered))


def _all(messages: Sequence[Message]) -> Iterator[Said]:
    kinds = {"system": SYSTEM, "user": USER, "tool": RESULT, "assistant": ANSWER}
    for message in messages:
        for part in message.parts:
            if isinstance(part, Thought):
                yield Said(part.text.strip("\n"), THOUGHT)
            elif isinstance(part, Text):
                yield Said(part.text.strip(), kinds[message.role])


def spans_of(pieces: Sequence[Inked], said: Sequence[Said], *, foreign: str) -> list[list[Span]]:
    """The spans of each piece, in order and without gaps.

    Texts are looked for in turn. What else came from outside (a description of tools, a call) is `foreign`.
    """
    waiting = [one for one in said if one.text]
    return [_piece(made, waiting, foreign) if isinstance(made, Piece) else [Span(0, 0, TEMPLATE)] for made in pieces]


def _piece(made: Piece, waiting: list[Said], foreign: str) -> list[Span]:
    marked: list[Span] = []
    cursor = 0
    while waiting and (begin := made.text.find(waiting[0].text, cursor)) >= 0:
        one = waiting.pop(0)
        marked.append(Span(begin, begin + len(one.text), one.kind))
        cursor = begin + len(one.text)
    outside = list(_outside(made, foreign))
    filled: list[Span] = []
    cursor = 0
    for span in [*marked, Span(len(made.text), len(made.text), TEMPLATE)]:
        filled += _between(outside, cursor, span.begin)
        filled.append(span)
        cursor = span.end
    return [span for span in filled if span.begin < span.end]


def _outside(made: Piece, foreign: str) -> Iterator[Span]:
    cursor = 0
    for run in made.runs:
        yield Span(cursor, cursor + len(run.text), TEMPLATE if run.own else foreign)
        cursor += len(run.text)


def _between(outside: Sequence[Span], begin: int, end: int) -> Iterator[Span]:
    for span in outside:
        low, high = max(span.begin, begin), min(span.end, end)
        if low < high:
            yield Span(low, high, span.kind)


def kind_at(spans: Sequence[Span], place: int) -> str:
    """What the letter at `place` is."""
    return next((span.kind for span in spans if span.begin <= place < span.end), spans[-1].kind if spans else TEMPLATE)
