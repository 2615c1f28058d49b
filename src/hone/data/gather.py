"""A batch of rows becomes pieces: checked, made records, encoded, and what was left out counted with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hone.data.book import Entry
from hone.data.bound import bounded
from hone.data.cells import require_object
from hone.data.formats import load_format
from hone.data.pieces import Pieces
from hone.data.row import BadRow, Row, RowFault
from hone.data.sources._values import as_text
from hone.data.stage import Encoded, Limits, StageEncoding
from hone.data.worth import as_wanted, digest, has_placeholder, nothing_to_learn, whole_text
from hone.dialogue.example import learned
from hone.dialogue.records import Record
from hone.errors import DataError

CUT_AWAY = "nothing to learn is left within cutoff_len"
OVERLONG = "longer than cutoff_len"


@dataclass(frozen=True)
class Gathered:
    """A batch's examples and its counts. `dropped`: rows (by reason) that would teach nothing, or are too long where
    such rows are to be dropped. `overlong`: those that may not be there at all."""

    pieces: Pieces
    rows: int = 0
    cut: int = 0
    lost: int = 0
    lost_learned: int = 0
    placeholders: int = 0
    dropped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    bad: tuple[BadRow, ...] = ()
    overlong: tuple[BadRow, ...] = ()


@dataclass(frozen=True)
class Gatherer:
    """Everything that turns rows into pieces; goes to worker processes as it is. `keep_all`: drop no row for teaching
    nothing (questions to be answered by generation)."""

    entry: Entry
    stage: StageEncoding
    encoder: Any
    limits: Limits
    keep_all: bool = False

    @property
    def _minds_length(self) -> bool:
        """Questions to be answered by generation are all kept, whatever their length."""
        return self.limits.on_overflow != "truncate" and not self.keep_all

    def __call__(self, rows: Sequence[Row | BadRow]) -> Gathered:
        bad = [row for row in rows if isinstance(row, BadRow)]
        dropped: dict[str, list[int]] = {}
        held: list[tuple[Row, Record]] = []
        for row in rows:
            if isinstance(row, Row) and (record := self.record(row, bad)) is not None:
                self._sort(row, record, held, dropped)
        return self._gathered(len(rows), held, dropped, bad)

    def record(self, row: Row, bad: list[BadRow]) -> Record | None:
        """What the row says; where it cannot be told, None and one more in `bad`."""
        try:
            return as_wanted(self.read(row), self.stage.record, unseen=self.unseen)
        except RowFault as fault:
            bad.append(_bad(row, fault.code, fault.what))
            return None

    @cached_property
    def unseen(self) -> str:
        """Why media are not seen; empty where they are."""
        if not getattr(self.stage, "sees", False):
            reason = getattr(self.stage, "blind", "")
            return f"which stage {self.stage.name} cannot train on" + (f": {reason}" if reason else " yet")
        viewer = getattr(self.encoder, "viewer", None)
        reason = "no model that sees is named" if viewer is None else getattr(viewer, "reason", "")
        return reason and f"but {reason}"

    def read(self, row: Row) -> Record:
        """The record as it stands in the row, whatever the stage wants. Raises RowFault."""
        return load_format(self.entry.format)(require_object(row.value), self.entry)

    def _sort(self, row: Row, record: Record, held: list[Any], dropped: dict[str, list[int]]) -> None:
        reason = "" if self.keep_all else nothing_to_learn(record, mask_history=self.limits.mask_history)
        if reason:
            dropped.setdefault(reason, []).append(row.number)
        else:
            held.append((row, record))

    def _gathered(
        self, count: int, held: list[tuple[Row, Record]], dropped: dict[str, list[int]], bad: list[BadRow]
    ) -> Gathered:
        encoded = self._encoded(held, bad)
        kept: list[tuple[Row, Record, Encoded]] = []
        overlong: list[BadRow] = []
        good = [(row, record, made) for (row, record), made in zip(held, encoded, strict=True) if made is not None]
        for one, taught in zip(good, learned([made.example for _, _, made in good]).tolist(), strict=True):
            row, _, made = one
            if made.lost and self._minds_length:
                self._too_long(row, made, dropped, overlong)
            elif self.keep_all or taught:
                kept.append(one)
            else:
                dropped.setdefault(CUT_AWAY, []).append(row.number)
        texts = [whole_text(record) for _, record, _ in kept]
        return Gathered(
            pieces=Pieces.of(
                [made.example for _, _, made in kept],
                [row.number for row, _, _ in kept],
                [digest(text) for text in texts],
            ),
            rows=count,
            cut=sum(made.lost > 0 for _, _, made in kept),
            lost=sum(made.lost for _, _, made in kept),
            lost_learned=sum(made.lost_learned for _, _, made in kept),
            placeholders=sum(has_placeholder(text) for text in texts),
            dropped={reason: tuple(rows) for reason, rows in dropped.items()},
            bad=tuple(sorted(bad, key=lambda row: row.number)),
            overlong=tuple(overlong),
        )

    def _too_long(self, row: Row, made: Encoded, dropped: dict[str, list[int]], overlong: list[BadRow]) -> None:
        if self.limits.on_overflow == "drop":
            dropped.setdefault(OVERLONG, []).append(row.number)
            return
        length = len(made.example.input_ids) + made.lost
        overlong.append(_bad(row, "DATA-LONG", f"{length:,} tokens, {made.lost:,} beyond cutoff_len"))

    def _encoded(self, held: list[tuple[Row, Record]], bad: list[BadRow]) -> list[Encoded | None]:
        made = [bounded(record, self.limits) for _, record in held]
        try:
            encoded = self.stage.encode([one.record for one in made], self.encoder, self.limits)
            return [one.counted(example) for one, example in zip(made, encoded, strict=True)]
        except DataError:
            works = [self._one(row, record, bad) is not None for row, record in held]
            if all(works):
                raise
        # What becomes of a row may depend on the one before it: the others together, as if the bad were not there.
        others = iter(self._encoded([one for one, good in zip(held, works, strict=True) if good], bad))
        return [next(others) if good else None for good in works]

    def _one(self, row: Row, record: Record, bad: list[BadRow]) -> Encoded | None:
        try:
            made = bounded(record, self.limits)
            return made.counted(self.stage.encode([made.record], self.encoder, self.limits)[0])
        except DataError as error:
            bad.append(_bad(row, error.faults[0].code, error.faults[0].what))
            return None


def _bad(row: Row, code: str, what: str) -> BadRow:
    return BadRow(row.file, row.number, row.line, 0, code, what, as_text(row.value))


def added(total: Counter[str], batch: Gathered) -> None:
    """Add a batch's counts to `total`."""
    for name in ("rows", "cut", "lost", "lost_learned", "placeholders"):
        total[name] += getattr(batch, name)
