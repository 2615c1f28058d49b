"""Knapsack packing: put short examples together so that little room is left over."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from hone.dialogue.example import Example, TokenIds


def fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of example numbers, by greedy best fit: each bin takes the longest example left that still fits, and again.

    An example longer than `capacity` gets a bin of its own. Of equal ones the later is taken first.
    """
    order = sorted(range(len(lengths)), key=lambda number: lengths[number])
    sizes = [lengths[number] for number in order]
    bins: list[list[int]] = []
    while sizes:
        room = max(capacity, sizes[-1])
        packed: list[int] = []
        while (place := bisect.bisect_right(sizes, room) - 1) >= 0:
            room -= sizes.pop(place)
            packed.append(order.pop(place))
        bins.append(packed)
    return bins


def stream(texts: Iterable[Example], size: int, *, first: int | None = None) -> Iterator[Example]:
    """Texts end to end, cut into blocks of `size` tokens; what is left at the end is a shorter block.

    With `first` (a bos token) every block begins with that, and holds as many fewer tokens of text.
    """
    start = [] if first is None else [first]
    room = max(size - len(start), 1)
    ids, labels = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)
    for text in texts:
        ids, labels = np.concatenate([ids, text.input_ids]), np.concatenate([labels, text.labels])
        while len(ids) >= room:
            yield block(start, ids[:room], labels[:room])
            ids, labels = ids[room:], labels[room:]
    if len(ids) > 1:
        yield block(start, ids, labels)


def block(start: list[int], ids: TokenIds, labels: TokenIds) -> Example:
    """One segment, a bos in front; what of it is learned, the texts say."""
    front = np.array(start, dtype=np.int32)
    return Example(np.concatenate([front, ids]), np.concatenate([front, labels]))
