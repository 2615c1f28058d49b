"""A set of examples to train on: a choice, in some order and perhaps packed together, of pieces that lie on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hone.data.pieces import Pieces, ends_of
from hone.dialogue.example import Example


@dataclass(frozen=True, eq=False)
class ExampleSet(Sequence[Example]):
    """Examples by number. Number i is made of the pieces `members[ends[i] : ends[i+1]]`, counted through all `parts`.

    `fingerprint` names the content: equal fingerprints mean equal examples in equal order.
    """

    parts: tuple[Pieces, ...]
    members: NDArray[np.int64]
    ends: NDArray[np.int64]
    fingerprint: str = ""

    @classmethod
    def of(cls, examples: Iterable[Example], fingerprint: str = "") -> ExampleSet:
        """A set of examples in memory."""
        return cls.over(Pieces.of(list(examples)), fingerprint=fingerprint)

    @classmethod
    def over(cls, *parts: Pieces, fingerprint: str = "") -> ExampleSet:
        """All examples of `parts`, one part after the other."""
        count = sum(len(part) for part in parts)
        return cls(parts, np.arange(count), np.arange(count + 1), fingerprint)

    def select(self, numbers: Sequence[int] | NDArray[np.int64]) -> ExampleSet:
        """The examples of these numbers, in this order; a number may come twice."""
        chosen = np.asarray(numbers, dtype=np.int64)
        return self._joined(chosen, np.arange(len(chosen) + 1))

    def packed(self, bins: Sequence[Sequence[int]]) -> ExampleSet:
        """Each bin's examples as one, every example a segment of its own."""
        chosen = np.fromiter((n for packed in bins for n in packed), dtype=np.int64)
        return self._joined(chosen, ends_of([len(packed) for packed in bins]))

    def _joined(self, chosen: NDArray[np.int64], cuts: NDArray[np.int64]) -> ExampleSet:
        """The examples `chosen[cuts[i] : cuts[i+1]]` as one, for each i."""
        starts, counts = self.ends[:-1][chosen], np.diff(self.ends)[chosen]
        places = ends_of(counts)
        members = self.members[np.repeat(starts - places[:-1], counts) + np.arange(places[-1])]
        ends = places[cuts]
        mark = hashlib.sha256(self.fingerprint.encode() + members.tobytes() + ends.tobytes())
        return ExampleSet(self.parts, members, ends, mark.hexdigest()[:16])

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[Example]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Example:  # type: ignore[override]
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(number)
        pieces = [self._piece(int(member)) for member in self.members[self.ends[number] : self.ends[number + 1]]]
        if len(pieces) == 1:
            return pieces[0]
        return Example(
            input_ids=np.concatenate([piece.input_ids for piece in pieces]),
            labels=np.concatenate([piece.labels for piece in pieces]),
            lengths=tuple(length for piece in pieces for length in piece.lengths),
            media=tuple(medium for piece in pieces for medium in piece.media),
        )

    def _piece(self, member: int) -> Example:
        for part in self.parts:
            if member < len(part):
                return part[member]
            member -= len(part)
        raise IndexError(member)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example, int64 [n]."""
        return self._summed([np.diff(part.offsets) for part in self.parts])

    @property
    def learned(self) -> NDArray[np.int64]:
        """Tokens that each example teaches, int64 [n]."""
        return self._summed([part.learned for part in self.parts])

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row that the first piece of each example came from, int64 [n]."""
        return self._gathered([part.rows for part in self.parts])[self.ends[:-1]]

    @property
    def digests(self) -> NDArray[np.uint64]:
        """A hash of the record behind every piece."""
        return self._gathered([part.digests for part in self.parts])

    def _gathered(self, arrays: Sequence[NDArray]) -> NDArray:
        return (np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int64))[self.members]

    def _summed(self, arrays: Sequence[NDArray]) -> NDArray[np.int64]:
        sums = ends_of(self._gathered(arrays))
        return sums[self.ends[1:]] - sums[self.ends[:-1]]
