"""Text from outside, kept apart from a chat template's own words while both go through one rendering.

Control words in the text are changed by one letter, to a noncharacter, before the template sees them, and back after.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hone.dialogue.jinja import LEARNED
from hone.dialogue.slots import Piece, Run, own, piece, said

_NONCHARACTERS = [chr(0xFDD0 + place) for place in range(32)]


class Shield:
    """Changes control words in text, and finds them again in what a template made of it."""

    def __init__(self, words: Iterable[str]) -> None:
        listed = sorted({*words, *LEARNED}, key=len, reverse=True)
        letters = sorted({word[0] for word in listed})
        self._sign = {letter: _NONCHARACTERS[place % len(_NONCHARACTERS)] for place, letter in enumerate(letters)}
        self._words = re.compile("|".join(re.escape(word) for word in listed))
        self._real = {self._sign[word[0]] + word[1:]: word for word in listed}
        self._signs = re.compile("|".join(re.escape(word) for word in self._real))

    def cover(self, value: Any) -> Any:
        """The text with its control words changed; tables and lists likewise, all through."""
        if isinstance(value, str):
            return self._words.sub(lambda found: self._sign[found[0][0]] + found[0][1:], value)
        if isinstance(value, Mapping):
            return {self.cover(key): self.cover(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.cover(item) for item in value]
        return value

    def piece(self, text: str) -> Piece:
        """The text as one piece, in which the changed words are words from outside again."""
        runs: list[Run] = []
        place = 0
        for found in self._signs.finditer(text):
            runs += [own(text[place : found.start()]), said(self._real[found[0]])]
            place = found.end()
        return piece([*runs, own(text[place:])])
