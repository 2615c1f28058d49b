"""How long rows are: a histogram in letters, quantiles, and the limit that would cut hardly any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BAR = 40
STEP = 64
"""A recommended limit is a multiple of this."""
BARS = 12
"""About so many bars, unless lengths spread over more than a factor of SPREAD."""
SPREAD = 16
SHARE = 0.01
"""A recommended limit cuts fewer rows than this share of them."""


@dataclass(frozen=True)
class Lengths:
    """Tokens a row, uncut: the least, the middle, the 99th of 100, the most; `counts[n]` rows lie in
    `edges[n] ≤ length < edges[n + 1]`. `enough` is the least limit (a multiple of 64) that cuts less than 1 %."""

    least: int = 0
    middle: int = 0
    most_of_all: int = 0
    longest: int = 0
    edges: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    enough: int = 0
    over: int = 0

    @classmethod
    def of(cls, lengths: NDArray[np.int64], cutoff_len: int) -> Lengths:
        """Counted. `over`: how many rows are longer than `cutoff_len`."""
        if not len(lengths):
            return cls()
        edges = _edges(int(lengths.min()), int(lengths.max()))
        counts, _ = np.histogram(lengths, bins=edges)
        return cls(
            least=int(lengths.min()),
            middle=int(np.median(lengths)),
            most_of_all=int(np.quantile(lengths, 0.99)),
            longest=int(lengths.max()),
            edges=tuple(edges),
            counts=tuple(counts.tolist()),
            enough=enough(lengths),
            over=int((lengths > cutoff_len).sum()),
        )

    def lines(self) -> Iterator[str]:
        """The histogram, one line a bar, and the quantiles before it."""
        if not self.counts:
            return
        yield (
            f"tokens a row: {self.least:,} at least, {self.middle:,} in the middle, 99 of 100 up to "
            f"{self.most_of_all:,}, {self.longest:,} at most"
        )
        most = max(self.counts)
        first = next(place for place, count in enumerate(self.counts) if count)
        bars = list(zip(self.edges, self.edges[1:], self.counts, strict=False))[first:]
        for low, high, count in bars:
            bar = "█" * round(BAR * count / most) or ("▏" if count else "")
            yield f"  {low:>7,} – {high - 1:<7,} {bar:<{BAR}} {count:,}".rstrip()


def enough(lengths: NDArray[np.int64]) -> int:
    """The least multiple of 64 that cuts less than 1 % of the rows."""
    may_be_cut = int(np.ceil(SHARE * len(lengths))) - 1
    needed = int(np.sort(lengths)[len(lengths) - 1 - may_be_cut])
    return -(-needed // STEP) * STEP


def _edges(least: int, longest: int) -> list[int]:
    """Steps of a round number; doubling, from 16, where lengths spread over orders of magnitude."""
    if longest <= SPREAD * least:
        step = _round_up((longest - least + 1) / BARS)
        first = least - least % step
        return list(range(first, longest + step + 1, step))
    edges = [0, 16]
    while edges[-1] <= longest:
        edges.append(edges[-1] * 2)
    return edges


def _round_up(wanted: float) -> int:
    """The least of 1, 2, 5, 10, 20, 50 … that is not below."""
    size = 1
    while True:
        for digit in (1, 2, 5):
            if digit * size >= wanted:
                return digit * size
        size *= 10
