"""Tokenising by remembered words: the same ids as the tokenizer's own, several times sooner.

Most vocabularies never join letters across a single space between two words, nor across a single line end. Where that
is certain, the ids of a text are those of its words, one after the other, and a language has few words: each is
tokenised once, by the tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hone.dialogue.pretokenizer import digits_stand_alone, words_stand_alone
from hone.dialogue.pretokens import LONGEST, Packed, Pretokens, asked

MOST = 200_000
"""Words that are remembered, some 50 MB; then the memory begins anew."""
FEWEST = 32
"""Texts below which asking the tokenizer is as quick."""

_WORDS = re.compile(r" (?<=\S )(?=\S)").split
_LINES = re.compile(r"(?<=\S\n)(?=\S)").split
"""Not after an empty line: GPT-2's way sees whether the last of several line ends is followed by a letter."""
_DOUBTFUL = "\u180e"
"""White space in some versions of Unicode, and none in others."""
Line = list[str]
"""Its words; white space other than a single space between two of them stays in them."""


class Memory(dict[str, Packed]):
    """Words of one kind with their ids: a word that is looked up and not known counts as a miss and is noted."""

    def __init__(self, backend: Any, lead: str, pretokens: Pretokens) -> None:
        """`lead`: what stands before each word, and is not part of its name here."""
        super().__init__()
        self._pretokens = pretokens
        self._lead = lead
        self._first: dict[str, Packed] = {}
        self._digits: dict[str, Packed] = {}
        if digits_stand_alone(backend):
            self._learn_digits()
        self.wanted: dict[str, None] = {}
        self.misses = 0

    def __missing__(self, word: str) -> Packed:
        if self._lead and word[:1] in self._first and word.isascii() and word.isdecimal():
            return self._number(word)
        self.misses += 1
        self.wanted[word] = None
        return b""

    def learn(self) -> list[str]:
        """Ask the tokenizer for what is wanted; the words that are not to be remembered are given back."""
        wanted, self.wanted = list(self.wanted), {}
        made = self._pretokens.asked([self._lead + word for word in wanted])
        self.update(zip(wanted, made, strict=True))
        if self._pretokens.digits_apart and not self._first:
            self._learn_digits()
        return [word for word in wanted if len(word) > LONGEST]

    def _learn_digits(self) -> None:
        digits = list("0123456789")
        self._first = dict(zip(digits, self._pretokens.asked([self._lead + digit for digit in digits]), strict=True))
        self._digits = dict(zip(digits, self._pretokens.asked(digits), strict=True))

    def _number(self, word: str) -> Packed:
        """Numbers hardly come again, but their digits do."""
        return b"".join([self._first[word[0]], *map(self._digits.__getitem__, word[1:])])


class Words:
    """The memory of one tokenizer of the `tokenizers` library. It must not change afterwards."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        # The first word of a line has no space before it, and the others are kept without theirs.
        pretokens = Pretokens(backend)
        self._heads, self._known = Memory(backend, "", pretokens), Memory(backend, " ", pretokens)

    @classmethod
    def of(cls, backend: Any) -> Words | None:
        """The memory, or None where a word's ids could depend on its neighbours."""
        return cls(backend) if words_stand_alone(backend) else None

    def encode(self, texts: Sequence[str]) -> list[Packed]:
        """The ids of each text, as the tokenizer alone would give them."""
        if len(texts) < FEWEST:
            return asked(self._backend, texts)
        heads, known = self._heads, self._known
        if len(heads) + len(known) > MOST:
            heads.clear()
            known.clear()
        made: list[Packed] = []
        again: list[tuple[int, list[Line]]] = []
        # A text is cut and looked up at once, while its words are in the processor's cache.
        for place, text in enumerate(texts):
            before = heads.misses + known.misses
            lines = _lines(text)
            made.append(self._joined(lines))
            if heads.misses + known.misses > before:
                again.append((place, lines))
        long_heads, long_words = heads.learn(), known.learn()
        for place, lines in again:
            made[place] = self._joined(lines)
        for memory, words in ((heads, long_heads), (known, long_words)):
            for word in words:
                del memory[word]
        return made

    def _joined(self, lines: Sequence[Line]) -> Packed:
        parts: list[Packed] = []
        for line in lines:
            words = iter(line)
            parts.append(self._heads[next(words)])
            parts += map(self._known.__getitem__, words)
        return b"".join(parts)


def is_blank(letter: str) -> bool:
    """Whether it is, or for some tokenizers may be, white space."""
    return letter.isspace() or letter == _DOUBTFUL


def _lines(text: str) -> list[Line]:
    """The words of a text, line by line: it is cut behind single line ends."""
    words = text.split()
    if " ".join(words) == text and words:
        return [words] if _DOUBTFUL not in text else [[text]]
    if _DOUBTFUL in text:
        return [[text]]
    return [_cut(line) for line in (_LINES(text) if "\n" in text else [text])]


def _cut(line: str) -> Line:
    body = line.rstrip("\n")
    words = body.split()
    if " ".join(words) != body or not words:
        return _WORDS(line)
    words[-1] += line[len(body) :]
    return words
