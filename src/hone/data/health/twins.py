"""Near-duplicates: texts that say almost the same, found by MinHash over runs of letters, in bounded memory.

Broder, "On the resemblance and containment of documents" (1997). Every text is a set of runs of eight letters; the
share of equal minima under 32 hash functions estimates how much of two sets is common. Texts that agree in one of
eight bands of four minima are compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

RUN = 8
"""Letters of a run."""
LETTERS = 2000
"""Letters of a text that are looked at."""
BANDS, IN_BAND = 8, 4
ALIKE = 0.8
"""Share of common runs from which two texts are near-duplicates."""
MOST = 200_000
"""Texts that are compared (some 30 MB); later ones are left out."""

_SPACE = re.compile(r"\s+")
_RANDOM = np.random.default_rng(20_231_117)
_FACTORS = _RANDOM.integers(1, 1 << 62, size=(BANDS * IN_BAND, 1), dtype=np.uint64) | np.uint64(1)
_BASE = np.uint64(1_099_511_628_211)


@dataclass(frozen=True)
class Pair:
    """Two texts alike, by the numbers in which they were added: the later one and an earlier one."""

    later: int
    earlier: int


@dataclass
class Twins:
    """Texts by their minima, in the order in which they are added."""

    digests: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    left_out: int = 0
    _minima: list[NDArray[np.uint32]] = field(default_factory=list)
    _added: int = 0

    def add(self, text: str, digest: int) -> None:
        """One more text. Those without a whole run of letters are alike to nothing."""
        number, self._added = self._added, self._added + 1
        if len(self.digests) >= MOST:
            self.left_out += 1
            return
        minima = sketch(text)
        if minima is not None:
            self._minima.append(minima)
            self.digests.append(digest)
            self.numbers.append(number)

    def pairs(self) -> list[Pair]:
        """Every text that is alike to an earlier one (but not equal to it, by digest), with that one."""
        if len(self._minima) < 2:
            return []
        minima = np.stack(self._minima)
        digests = np.array(self.digests, dtype=np.uint64)
        found: dict[int, int] = {}
        for band in range(BANDS):
            keys = _joined(minima[:, band * IN_BAND : (band + 1) * IN_BAND])
            order = np.argsort(keys, kind="stable")
            for later, earlier in _neighbours(keys[order], order):
                alike = (minima[later] == minima[earlier]).mean(axis=1) >= ALIKE
                alike &= digests[later] != digests[earlier]
                found.update(zip(later[alike].tolist(), earlier[alike].tolist(), strict=True))
        return [Pair(self.numbers[later], self.numbers[earlier]) for later, earlier in sorted(found.items())]


def sketch(text: str) -> NDArray[np.uint32] | None:
    """The minima of a text, uint32 [32]; None where it is too short."""
    letters = np.frombuffer(
        _SPACE.sub(" ", text[:LETTERS].lower()).strip().encode("utf-32-le", "surrogatepass"), "<u4"
    ).astype(np.uint64)
    if len(letters) < RUN:
        return None
    count = len(letters) - RUN + 1
    runs = np.zeros(count, dtype=np.uint64)
    for place in range(RUN):
        runs = runs * _BASE + letters[place : place + count]
    runs ^= runs >> np.uint64(29)
    mixed = np.unique(runs)[None, :] * _FACTORS
    return (mixed >> np.uint64(32)).min(axis=1).astype(np.uint32)


def _joined(minima: NDArray[np.uint32]) -> NDArray[np.uint64]:
    keys = np.zeros(len(minima), dtype=np.uint64)
    for column in range(minima.shape[1]):
        keys = keys * _BASE + minima[:, column]
    return keys


def _neighbours(
    keys: NDArray[np.uint64], order: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Texts of one key, each with the one before it, and each with the first of them."""
    same = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    first = starts[np.searchsorted(starts, same, side="right") - 1]
    return [(order[same], order[same - 1]), (order[same], order[first])]
