"""Which of llama.cpp's sequences belongs to whom, what stands in it, and what of it a new prompt can take over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

WORTH = 8
"""A beginning shared with another sequence is taken over from so many tokens on."""


class Cells(Protocol):
    """Where keys and values of sequences lie: each token takes one cell, which several sequences may share."""

    def forget(self, sequence: int, kept: int) -> None:
        """Drop all but the first `kept` tokens of a sequence."""

    def share(self, source: int, sequence: int, tokens: int) -> None:
        """Let an empty sequence have the first tokens of another one."""


class Sequences:
    """`count` sequences over `room` cells. What ended stays to be found again, until its cells or its place are needed.

    `reuse` False: nothing is taken over, for models whose state cannot be cut at any token.
    """

    def __init__(self, cells: Cells, count: int, room: int, *, reuse: bool) -> None:
        self.cells, self.room, self.reuse = cells, room, reuse
        self.ids: list[list[int]] = [[] for _ in range(count)]
        """The tokens that stand in each sequence."""
        self.idle = list(range(count))
        """Those that belong to nobody, the longest unused first."""

    def take(self, prompt: Sequence[int]) -> tuple[int, int]:
        """A sequence for a prompt, and how many of its first tokens need not be read; the last one always must."""
        source, kept = self._like(prompt)
        if source in self.idle and kept == len(self.ids[source]):
            sequence = source
        else:
            sequence = self.idle[0]
            if sequence != source:
                self._cut(sequence, 0)
                if kept:
                    self.cells.share(source, sequence, kept)
        self.idle.remove(sequence)
        self._cut(sequence, kept)
        self.ids[sequence] = list(prompt[:kept])
        return sequence, kept

    def leave(self, sequence: int) -> None:
        """Its request has ended."""
        if not self.reuse:
            self._cut(sequence, 0)
        self.idle.append(sequence)

    def make_room(self, tokens: int) -> None:
        """So many free cells, at the expense of what ended longest ago. Shared cells are counted for each sharer."""
        used = sum(map(len, self.ids))
        for sequence in self.idle:
            if used + tokens <= self.room:
                return
            used -= len(self.ids[sequence])
            self._cut(sequence, 0)

    def clear(self) -> None:
        """Forget everything; the cells must have been emptied."""
        self.ids = [[] for _ in self.ids]
        self.idle = list(range(len(self.ids)))

    def _like(self, prompt: Sequence[int]) -> tuple[int, int]:
        """The sequence that begins most like the prompt, and for how many tokens; 0 if that is not worth it."""
        lengths = [_shared(ids, prompt) for ids in self.ids] if self.reuse else [0]
        best = max(range(len(lengths)), key=lengths.__getitem__)
        return best, lengths[best] if lengths[best] >= WORTH else 0

    def _cut(self, sequence: int, kept: int) -> None:
        if len(self.ids[sequence]) > kept:
            self.cells.forget(sequence, kept)
            self.ids[sequence] = self.ids[sequence][:kept]


def _shared(ids: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens both begin with, the prompt's last one left out."""
    limit = min(len(ids), len(prompt) - 1)
    return next((place for place in range(limit) if ids[place] != prompt[place]), limit)
