"""Sums and counts over many batches, and over all processes, and the means they make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from hone.training.stage import StageLoss

Sums = dict[str, tuple[float, int]]
"""Of each measure: the sum and the count."""


def alone(mine: Sums) -> Sequence[Sums]:
    """The sums of all processes where there is only one."""
    return [mine]


class Tally:
    """Adds up losses and measures. Nothing is read back from the device before it is asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)

    @classmethod
    def of(cls, sums: Sums) -> Tally:
        """One that goes on from these sums."""
        tally = cls()
        for name, (value, count) in sums.items():
            tally._sums[name], tally._counts[name] = value, count
        return tally

    def add(self, found: StageLoss, *, loss: bool = True) -> None:
        """Take in the loss (unless it is counted elsewhere) and the measures of one batch."""
        measures = dict(found.sums)
        if loss:
            measures["loss"] = (found.total.detach(), found.count)
        for name, (value, count) in measures.items():
            self._sums[name] = self._sums[name] + value
            self._counts[name] += count

    def sums(self, gather: Callable[[Sums], Sequence[Sums]] = alone) -> Sums:
        """Each measure over all batches; `gather` gives the sums of every process, some of which may have none."""
        whole: Sums = {}
        for part in gather({name: (float(self._sums[name]), self._counts[name]) for name in self._counts}):
            for name, (value, count) in part.items():
                before = whole.get(name, (0.0, 0))
                whole[name] = (before[0] + value, before[1] + count)
        return whole


def means(sums: Sums) -> dict[str, float]:
    """Each measure's sum over its count; a measure that counts nothing has none."""
    return {name: value / count for name, (value, count) in sums.items() if count}
