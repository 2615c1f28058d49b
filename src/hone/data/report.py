"""What became of the rows: counts for each set, printed as one block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SHOWN = 5
"""How many row numbers are named for each reason."""


@dataclass(frozen=True)
class SetReport:
    """One data set: how many rows were read, kept, cut, dropped and why, and how many tokens they teach.

    `lost` tokens were cut off, `lost_learned` of them belonged to answers. `dropped` gives row numbers by reason.
    """

    name: str
    rows: int = 0
    kept: int = 0
    cut: int = 0
    lost: int = 0
    lost_learned: int = 0
    tokens: int = 0
    learned: int = 0
    bad: int = 0
    duplicates: int = 0
    placeholders: int = 0
    dropped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def dropped_rows(self) -> int:
        """How many rows were dropped, whatever the reason."""
        return sum(len(rows) for rows in self.dropped.values())


@dataclass(frozen=True)
class DataReport:
    """All sets of a run; `str()` is the block that the user sees. `train_packs`: rows after packing, 0 without."""

    train: tuple[SetReport, ...] = ()
    evals: tuple[SetReport, ...] = ()
    train_examples: int = 0
    eval_examples: int = 0
    packs: int = 0
    leaked: int = 0

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return asdict(self)


COLUMNS = {
    "rows": "rows", "kept": "kept", "cut": "cut", "lost_learned": "answer tokens cut off",
    "dropped_rows": "dropped", "bad": "skipped", "tokens": "tokens", "learned": "learned",
}  # fmt: skip


def _lines(report: DataReport) -> Iterator[str]:
    sets = (*report.train, *report.evals)
    width = max([len(one.name) for one in sets] + [4])
    yield "  ".join(["data".ljust(width), *(title.rjust(7) for title in COLUMNS.values())])
    for one in sets:
        cells = [f"{getattr(one, name):,}".rjust(max(len(title), 7)) for name, title in COLUMNS.items()]
        yield "  ".join([one.name.ljust(width), *cells])
    for one in sets:
        yield from (f"  {one.name}: {line}" for line in _notes(one))
    yield from _totals(report)


def _notes(one: SetReport) -> Iterator[str]:
    for reason, rows in one.dropped.items():
        more = ", …" if len(rows) > SHOWN else ""
        yield f"dropped {len(rows):,} ({reason}): row {', '.join(map(str, rows[:SHOWN]))}{more}"
    if one.bad:
        yield f"skipped {one.bad:,} broken"
    if one.cut:
        yield f"cut {one.cut:,} at cutoff_len, {one.lost:,} tokens gone, {one.lost_learned:,} of them from answers"
    if one.duplicates:
        yield f"{one.duplicates:,} are exact duplicates of earlier rows, kept"


def _totals(report: DataReport) -> Iterator[str]:
    packed = f" in {report.packs:,} packs" if report.packs else ""
    evaluated = f", {report.eval_examples:,} to evaluate" if report.eval_examples else ""
    yield f"  {report.train_examples:,} examples to train on{packed}{evaluated}"
    if report.leaked:
        yield f"  {report.leaked:,} of those to evaluate are also trained on"
