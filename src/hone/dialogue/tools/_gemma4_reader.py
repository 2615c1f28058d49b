"""Reading Gemma 4's notation: a small parser that goes once through the text."""

from __future__ import annotations

import re
from typing import Any

from hone.dialogue.message import ToolCall

_QUOTE = '<|"|>'
_HEAD = re.compile(r"<\|tool_call>call:([^\s{}:]+)\{")
_TAIL = "}<tool_call|>"
_KEY = re.compile(r"\s*([^:,{}\[\]]+?)\s*:")
_WORD = re.compile(r"[^,\]}\s<]+")
_WORDS = {"true": True, "false": False, "null": None}
_DEEPEST = 100


class UnreadableError(Exception):
    """The text is not in the notation."""


def read_calls(text: str) -> list[tuple[int, int, ToolCall]] | None:
    """Each call with its place; None if one of them has no end. Arguments in no notation are a text, as written."""
    calls = []
    try:
        for head in _HEAD.finditer(text):
            arguments, end = _arguments(text, head.end())
            calls.append((head.start(), end, ToolCall(head[1], arguments)))
    except UnreadableError:
        return None
    return calls


def _arguments(text: str, begin: int) -> tuple[Any, int]:
    """What stands between a call's braces, and where the call ends."""
    reader = _Reader(text, begin)
    try:
        return reader.arguments(), reader.place
    except UnreadableError:
        end = text.find(_TAIL, begin)
        if end <= begin or _HEAD.search(text, begin, end):
            raise
        return text[begin:end], end + len(_TAIL)


class _Reader:
    """A place in the text that moves forward."""

    def __init__(self, text: str, place: int) -> None:
        self.text = text
        self.place = place

    def arguments(self) -> Any:
        """What stands between a call's braces; a bare list is given as such."""
        bare = self._value(0) if self._next() == "[" else self._members(0)
        if not self.text.startswith(_TAIL, self.place):
            raise UnreadableError
        self.place += len(_TAIL)
        return bare

    def _members(self, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while self._next() != "}":
            key = _KEY.match(self.text, self.place)
            if key is None:
                raise UnreadableError
            self.place = key.end()
            made[key[1]] = self._value(depth + 1)
            self._comma("}")
        return made

    def _value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise UnreadableError
        if self.text.startswith(_QUOTE, self.place):
            return self._string()
        if self._next() == "{":
            self.place += 1
            made = self._members(depth)
            self.place += 1
            return made
        return self._list(depth) if self._next() == "[" else self._word()

    def _list(self, depth: int) -> list[Any]:
        self.place += 1
        made: list[Any] = []
        while self._next() != "]":
            made.append(self._value(depth + 1))
            self._comma("]")
        self.place += 1
        return made

    def _string(self) -> str:
        begin = self.place + len(_QUOTE)
        end = self.text.find(_QUOTE, begin)
        if end < 0:
            raise UnreadableError
        self.place = end + len(_QUOTE)
        return self.text[begin:end]

    def _word(self) -> Any:
        word = _WORD.match(self.text, self.place)
        if word is None:
            raise UnreadableError
        self.place = word.end()
        return _WORDS[word[0]] if word[0] in _WORDS else _number(word[0])

    def _comma(self, end: str) -> None:
        if self._next() == ",":
            self.place += 1
        elif self._next() != end:
            raise UnreadableError

    def _next(self) -> str:
        if self.place >= len(self.text):
            raise UnreadableError
        return self.text[self.place]


def _number(word: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    raise UnreadableError
