"""Benchmark questions among the rows: a model that has learned them cannot be tested with them any more.

Questions and rows are compared by their letters and digits alone. A question is cut into chunks of 24 bytes, and a row
holds it when four of five of them stand in the row, wherever; a short question, such as many begin with the same words,
must also have all its options there.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hone.evals.choice import Question

CHUNK = 24
"""Bytes: 24 Latin letters, or 8 Chinese ones."""
TELLING = 72
"""Bytes from which a question is told from others without its options."""
SHARE = 0.8
_BASE = np.uint64(1_099_511_628_211)
_SILENT = re.compile(r"[\W_]+")

Hashes = NDArray[np.uint64]


class Benchmarks:
    """The questions to look for. `left_out`: those too short to be told from ordinary sentences."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._needed: list[int] = []
        self._options: list[tuple[str, ...]] = []
        self._chunks: dict[int, list[int]] = {}
        self.left_out = 0
        for one in questions:
            self._add(one)
        self._known = np.array(sorted(self._chunks), dtype=np.uint64)
        self.seen: set[int] = set()
        """The questions found so far, by number."""

    def __len__(self) -> int:
        return len(self._needed)

    def _add(self, question: Question) -> None:
        said = _letters(question.text)
        chunks = set(_windows(said)[::CHUNK].tolist())
        options = tuple(filter(None, map(_letters_text, question.options.values())))
        if not chunks or (len(said) < TELLING and not options):
            self.left_out += 1
            return
        number = len(self._needed)
        self._needed.append(math.ceil(SHARE * len(chunks)))
        self._options.append(options if len(said) < TELLING else ())
        for chunk in chunks:
            self._chunks.setdefault(chunk, []).append(number)

    def asked_in(self, text: str) -> bool:
        """Whether the text holds one of the questions."""
        if not len(self._known):
            return False
        plain = _letters_text(text)
        windows = _windows(np.frombuffer(plain.encode("utf-8", "surrogatepass"), dtype=np.uint8))
        places = np.minimum(np.searchsorted(self._known, windows), len(self._known) - 1)
        found = np.unique(windows[self._known[places] == windows]).tolist()
        hits = Counter(number for chunk in found for number in self._chunks[chunk])
        asked = {
            number
            for number, count in hits.items()
            if count >= self._needed[number] and all(option in plain for option in self._options[number])
        }
        self.seen |= asked
        return bool(asked)


def _letters_text(text: str) -> str:
    return _SILENT.sub("", text.lower())


def _letters(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(_letters_text(text).encode("utf-8", "surrogatepass"), dtype=np.uint8)


def _windows(letters: NDArray[np.uint8]) -> Hashes:
    """A hash of every 24 bytes in a row, uint64 [n - 23]: of 8, 16 and 24, each made of two of those before."""
    runs = letters.astype(np.uint64) + np.uint64(1)
    if len(runs) < CHUNK:
        return np.empty(0, dtype=np.uint64)
    width = 1
    while width < 8:
        runs, width = _next(runs, runs, width, width), 2 * width
    sixteen = _next(runs, runs, 8, 8)
    return _next(sixteen, runs, 16, 8)


def _next(first: Hashes, second: Hashes, width: int, other: int) -> Hashes:
    """Hashes of `width + other` bytes out of those of `width` and, behind them, of `other`."""
    count = len(second) - width
    power = np.uint64(pow(int(_BASE), other, 1 << 64))
    joined: Hashes = first[:count] * power + second[width : width + count]
    return joined
