"""How sure a score is: the interval around an accuracy, and whether two models differ on the same questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""Of 95 percent, two-sided."""


def interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share after Wilson, each end from 0 to 1; the whole range where nothing was asked."""
    if not count:
        return 0.0, 1.0
    share = right / count
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    wide = Z / (1 + Z * Z / count) * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return max(middle - wide, 0.0), min(middle + wide, 1.0)


@dataclass(frozen=True)
class Paired:
    """Two models on the same questions: how many only the one, and only the other, had right; the difference of their
    accuracies with its 95 % interval; and the probability of as large a difference by chance (McNemar, exact)."""

    count: int
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p: float


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """The second model compared with the first, on the same questions in the same order. ValueError for none."""
    pairs = list(zip(first, second, strict=True))
    count = len(pairs)
    if not count:
        raise ValueError("no questions")
    lost, won = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    difference = (won - lost) / count
    wide = Z * math.sqrt(max(won + lost - (won - lost) ** 2 / count, 0.0)) / count
    return Paired(count, lost, won, difference, difference - wide, difference + wide, mcnemar(lost, won))


def mcnemar(lost: int, won: int) -> float:
    """The two-sided exact probability that of so many differing answers so few go the other way."""
    changed = lost + won
    tail = sum(math.comb(changed, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**changed)
