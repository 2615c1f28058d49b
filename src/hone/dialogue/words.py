"""Tokenising by remembered words: the same ids as the tokenizer's own, several times sooner.

Most vocabularies never join letters across a single space between two words, nor across a single line end. Where that
is certain, the ids of a text are those of its words, one after the other, and a language has few words: each is
tokenised once, by the tokenizer.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

MOST = 200_000
"""Words that are remembered, some 50 MB; then the memory begins anew."""
LONGEST = 40
"""Letters of a word that is remembered: longer ones hardly come again."""
FEWEST = 32
"""Texts below which asking the tokenizer is as quick."""

_WORDS = re.compile(r" (?<=\S )(?=\S)").split
_LINES = re.compile(r"(?<=\S\n)(?=\S)").split
"""Not after an empty line: GPT-2's way sees whether the last of several line ends is followed by a letter."""
_DOUBTFUL = "\u180e"
"""White space in some versions of Unicode, and none in others."""
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SINGLE = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{_REST}"
PATTERNS = {rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}{_REST}", SINGLE}
"""Ways to cut a text (of Llama 3 and Qwen) in which a single space between two words begins a piece, and nothing
before it looks beyond it. So it is with the way of GPT-2, which `ByteLevel` has built in."""

Packed = bytes
"""Token ids as the bytes of int32 numbers, which are joined many times sooner than lists."""

Line = tuple[str, list[str]]
"""The first word of a line, and the others."""


def packed(ids: Iterable[int]) -> Packed:
    """The ids as bytes."""
    return array("i", ids).tobytes()


class Memory(dict[str, Packed]):
    """Words of one kind with their ids: a word that is looked up and not known counts as a miss and is noted."""

    def __init__(self, backend: Any, lead: str) -> None:
        """`lead`: what stands before each word, and is not part of its name here."""
        super().__init__()
        self._backend = backend
        self._lead = lead
        digits = list("0123456789") if _digits_stand_alone(backend) else []
        self._first = dict(zip(digits, asked(backend, [lead + digit for digit in digits]), strict=True))
        self._digits = dict(zip(digits, asked(backend, digits), strict=True))
        self.wanted: dict[str, None] = {}
        self.misses = 0

    def __missing__(self, word: str) -> Packed:
        if word[:1] in self._first and self._lead and word.isascii() and word.isdecimal():
            return self._number(word)
        self.misses += 1
        self.wanted[word] = None
        return b""

    def learn(self) -> list[str]:
        """Ask the tokenizer for what is wanted; the words that are not to be remembered are given back."""
        wanted, self.wanted = list(self.wanted), {}
        self.update(zip(wanted, asked(self._backend, [self._lead + word for word in wanted]), strict=True))
        return [word for word in wanted if len(word) > LONGEST]

    def _number(self, word: str) -> Packed:
        """Numbers hardly come again, but their digits do."""
        return b"".join([self._first[word[0]], *map(self._digits.__getitem__, word[1:])])


class Words:
    """The memory of one tokenizer of the `tokenizers` library. It must not change afterwards."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        # The first word of a line has no space before it, and the others are kept without theirs.
        self._heads, self._known = Memory(backend, ""), Memory(backend, " ")

    @classmethod
    def of(cls, backend: Any) -> Words | None:
        """The memory, or None where a word's ids could depend on its neighbours."""
        return cls(backend) if _words_stand_alone(backend) else None

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
            lines = [(text, [])] if _DOUBTFUL in text else [_cut(line) for line in _lines(text)]
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
        known = self._known.__getitem__
        parts = [b"".join([self._heads[head], *map(known, words)]) for head, words in lines]
        return parts[0] if len(parts) == 1 else b"".join(parts)


def is_blank(letter: str) -> bool:
    """Whether it is, or for some tokenizers may be, white space."""
    return letter.isspace() or letter == _DOUBTFUL


def _lines(text: str) -> list[str]:
    """The text in parts, cut behind single line ends."""
    return _LINES(text) if "\n" in text else [text]


def _cut(line: str) -> Line:
    """The words of a line; white space other than a single space between two words stays in them."""
    body = line.rstrip("\n")
    words = body.split()
    if " ".join(words) != body or not words:
        words = _WORDS(line)
    else:
        words[-1] += line[len(body) :]
    return words[0], words[1:]


def asked(backend: Any, texts: Iterable[str]) -> list[Packed]:
    """The tokenizer's own ids."""
    return [packed(made.ids) for made in backend.encode_batch_fast(list(texts), add_special_tokens=False)]


def _words_stand_alone(backend: Any) -> bool:
    if type(backend.model).__name__ != "BPE" or backend.model.dropout or backend.truncation or backend.padding:
        return False
    normal, steps = _state(backend.normalizer), _steps(_state(backend.pre_tokenizer))
    if any(_reaches_out(token, normalised=bool(normal)) for token in backend.get_added_tokens_decoder().values()):
        return False
    return (
        (not normal or normal["type"] == "NFC")
        and bool(steps)
        and steps[-1]["type"] == "ByteLevel"
        and all(map(_begins_at_spaces, steps))
    )


def _digits_stand_alone(backend: Any) -> bool:
    """Whether every digit is a piece of its own."""
    return any(
        step["individual_digits"] if step["type"] == "Digits" else step.get("pattern", {}).get("Regex") == SINGLE
        for step in _steps(_state(backend.pre_tokenizer))
    )


def _state(step: Any) -> dict[str, Any]:
    if step is None:
        return {}
    try:
        found: dict[str, Any] = json.loads(step.__getstate__())
    except TypeError:
        return {"type": "unknown"}
    return found


def _steps(step: dict[str, Any]) -> list[dict[str, Any]]:
    return step["pretokenizers"] if step.get("type") == "Sequence" else [step] if step else []


def _begins_at_spaces(step: dict[str, Any]) -> bool:
    """Whether the step begins a new piece at each single space between two words."""
    if step["type"] == "Digits":
        return True
    if step["type"] == "ByteLevel":
        return not step["add_prefix_space"]
    return bool(
        step["type"] == "Split"
        and step["behavior"] == "Isolated"
        and not step["invert"]
        and step["pattern"].get("Regex") in PATTERNS
    )


def _reaches_out(token: Any, *, normalised: bool) -> bool:
    """Whether an added token is found by more than its letters, or has a space in them."""
    flags = token.lstrip or token.rstrip or token.single_word or (token.normalized and normalised)
    return bool(flags) or any(letter.isspace() for letter in token.content)
