"""Many new words at once: the tokenizer's own cut into pieces done here, and its model asked for the pieces alone.

A tokenizer spends most of its time on the cut and on where each token stood. Pieces come again more often than words,
and where no token joins two letters, so do the letters: a Chinese text under an English vocabulary is its characters.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from hone.dialogue.pretokenizer import IDEOGRAMS, LETTERS, MARKS, cut_of

MANY = 1000
"""Words below which the vocabulary is not read: asking the tokenizer is as quick."""
LONGEST = 40
"""Letters of a piece that is remembered: longer ones hardly come again."""
MOST = 200_000
"""Pieces that are remembered; then the memory begins anew."""
JOINTS = 64
"""Pairs of bytes between two ideograms that some token joins: with more of them hardly two stand apart."""

Packed = bytes
"""Token ids as the bytes of int32 numbers, which are joined many times sooner than lists."""

_PLAIN = re.compile(rf"[{LETTERS}{MARKS}0-9 \t\r\n]+").fullmatch
_IDEOGRAMS = re.compile(f" ?[{IDEOGRAMS}]+").fullmatch
_SPOKEN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_UNSPOKEN = [byte for byte in range(0x100) if byte not in _SPOKEN]
_BYTES = {**{byte: chr(byte) for byte in _SPOKEN}, **{byte: chr(0x100 + n) for n, byte in enumerate(_UNSPOKEN)}}
"""The letter that stands for each byte in a byte-level vocabulary (GPT-2, `bytes_to_unicode`)."""


def packed(ids: Iterable[int]) -> Packed:
    """The ids as bytes."""
    return array("i", ids).tobytes()


def asked(backend: Any, texts: Iterable[str]) -> list[Packed]:
    """The tokenizer's own ids."""
    return [packed(made.ids) for made in backend.encode_batch_fast(list(texts), add_special_tokens=False)]


class Pieces(dict[str, Packed]):
    """Pieces with their ids, asked of the tokenizer's model when they are first looked up."""

    def __init__(self, backend: Any, words: str) -> None:
        """`words`: the vocabulary, a line each."""
        super().__init__()
        self._model = backend.model
        self._apart = _apart(words)

    def __missing__(self, piece: str) -> Packed:
        if self._apart is not None and _IDEOGRAMS(piece) is not None:
            letters = self._apart.findall(piece)
            if len(letters) > 1:
                return b"".join([*map(self.__getitem__, letters)])
        ids = packed([token.id for token in self._model.tokenize(_spelled(piece))])
        if len(piece) <= LONGEST:
            self[piece] = ids
        return ids


class Pretokens:
    """The pieces of one tokenizer, of which `hone.dialogue.pretokenizer` knows that its words stand alone.

    `digits_apart`: no token joins two digits; known once many words were asked for.
    """

    def __init__(self, backend: Any) -> None:
        self.digits_apart = False
        self._backend = backend
        self._pieces: Pieces | None = None
        self._cut: re.Pattern[str] | None = None
        self._read = False
        firsts = {token.content[:1] for token in backend.get_added_tokens_decoder().values()}
        self._added = re.compile("|".join(map(re.escape, sorted(firsts))) or "(?!)")

    def asked(self, texts: Sequence[str]) -> list[Packed]:
        """The ids of each text, as the tokenizer alone would give them."""
        if len(texts) >= MANY and not self._read:
            self._read_vocabulary()
        if self._cut is None or self._pieces is None:
            return asked(self._backend, texts)
        if len(self._pieces) > MOST:
            self._pieces.clear()
        plain = [_PLAIN(text) is not None and self._added.search(text) is None for text in texts]
        others = iter(asked(self._backend, [text for text, is_plain in zip(texts, plain, strict=True) if not is_plain]))
        cut, ids_of = self._cut.findall, self._pieces.__getitem__
        return [
            b"".join([*map(ids_of, cut(text))]) if is_plain else next(others)
            for text, is_plain in zip(texts, plain, strict=True)
        ]

    def _read_vocabulary(self) -> None:
        """See which letters no token joins, if the tokenizer's cut is known."""
        self._read = True
        model = self._backend.model
        if model.continuing_subword_prefix or model.end_of_word_suffix or (model.unk_token and model.fuse_unk):
            return
        words = "\n".join(self._backend.get_vocab(with_added_tokens=False))
        self.digits_apart = not re.search("[0-9][0-9]", words)
        cut = cut_of(self._backend, digits_apart=self.digits_apart)
        if cut is not None:
            self._cut, self._pieces = re.compile(cut), Pieces(self._backend, words)


def _spelled(piece: str) -> str:
    """The piece in the letters of a byte-level vocabulary."""
    if piece.isascii() and piece.isprintable():
        return piece.replace(" ", _BYTES[0x20])
    return piece.encode().decode("latin-1").translate(_BYTES)


def _apart(words: str) -> re.Pattern[str] | None:
    """What finds, in a run of ideograms, those that no token joins to the next; None where nearly all are joined."""
    byte_of = {letter: byte for byte, letter in _BYTES.items()}
    last = "".join(_BYTES[byte] for byte in range(0x80, 0xC0))
    first = "".join(_BYTES[byte] for byte in range(0xE3, 0xEE))
    joints = {(byte_of[one], byte_of[two]) for one, two in re.findall(f"([{last}])(?=([{first}]))", words)}
    if len(joints) > JOINTS:
        return None
    followers: dict[int, set[int]] = {}
    for one, two in joints:
        followers.setdefault(one, set()).add(two)
    ways = [
        "[{}](?=[{}])".format(
            "".join(chr(letter) for letter in range(0x3000 + (one & 0x3F), 0xE000, 0x40)),
            "".join(f"{chr((two & 0xF) << 12)}-{chr(((two & 0xF) << 12) + 0xFFF)}" for two in sorted(twos)),
        )
        for one, twos in sorted(followers.items())
    ]
    return re.compile(f" ?(?:{'|'.join(ways)})*." if ways else " ?.")
