"""Finding calls in a model's text: every reader goes through the text once, whatever the text is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from hone.dialogue.message import Text, ToolCall
from hone.dialogue.tools._json import load_or_text

Found = list[Text | ToolCall]
"""What a model's text turned out to be: calls, and the text around them."""


def around(text: str, calls: list[tuple[int, int, ToolCall]]) -> Found | None:
    """Calls at their places (begin, end) with the text before, between and after them; None without calls.

    The text that leads to the first call is kept as it is, white space alone between and after calls is not.
    """
    found: Found = []
    place = 0
    for begin, end, call in calls:
        gap = text[place:begin]
        found += [Text(gap), call] if gap.strip() or (gap and not place) else [call]
        place = end
    rest = text[place:]
    return None if not calls else [*found, Text(rest)] if rest.strip() else found


def innermost(text: str, start: str, end: str) -> Iterator[tuple[int, int, str]]:
    """(begin, end, what stands between) of each `start`…`end` that holds no other `start`."""
    place = 0
    close = text.find(end)
    while close >= 0:
        begin = text.rfind(start, place, close)
        if begin >= 0:
            yield begin, close + len(end), text[begin + len(start) : close]
        place = close + len(end)
        close = text.find(end, place)


def closing(text: str, start: str, end: str) -> tuple[str, list[str]] | None:
    """The text before the first block, and what stands in each `start`…`end` block up to the end of the text.

    A block ends at an `end` that only white space separates from the next `start` or from the end of the text; the last
    one must end the text. None if there is no such block.
    """
    begin = text.find(start)
    if begin < 0:
        return None
    inside: list[str] = []
    place = begin + len(start)
    close = text.find(end, place)
    while close >= 0:
        rest = _past_space(text, close + len(end))
        if rest == len(text):
            return text[:begin], [*inside, text[place:close]]
        if text.startswith(start, rest):
            inside.append(text[place:close])
            place = rest + len(start)
        close = text.find(end, max(rest, close + len(end)))
    return None


def _past_space(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def members(body: str, start: re.Pattern[str], end: str, read: Callable[[str], Any]) -> dict[str, Any] | None:
    """Named values, each between a match of `start` (group 1 is the name) and `end`; None if anything else is there."""
    made: dict[str, Any] = {}
    place = 0
    while _past_space(body, place) < len(body):
        opened = start.match(body, place)
        close = body.find(end, opened.end()) if opened else -1
        if opened is None or close < 0:
            return None
        made[opened[1].strip()] = read(body[opened.end() : close])
        place = close + len(end)
    return made


def stripped_value(text: str) -> Any:
    """A value with white space around it: JSON, or else text."""
    return load_or_text(text.strip())
