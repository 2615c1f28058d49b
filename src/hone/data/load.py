"""One data set, prepared: taken from the cache, or read, encoded and put there."""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import hone
from hone.data import cache as store
from hone.data.gather import Gathered, Gatherer
from hone.data.pieces import Pieces
from hone.data.progress import Progress
from hone.data.report import SetReport
from hone.data.row import BadRow, Row
from hone.data.sources import files_at, read_rows
from hone.data.unfinished import BAD_ROWS, NAMED, Unfinished
from hone.data.workers import in_order, starts_quickly
from hone.errors import DataError, Fault
from hone.log import say

BATCH = 500
"""Rows that are encoded together."""
WORTH_A_WORKER = 60_000
"""Rows below which starting processes takes longer than the work, and"""
WORTH_A_FORK = 4_000
"""where they are forks."""
BROKEN = "mend the row, or set on_bad_row: skip"
TOO_LONG = "raise cutoff_len, shorten the row, or set on_overflow: truncate or drop"


@dataclass(frozen=True)
class Reading:
    """How sets are read, whichever they are."""

    cache_dir: Path
    on_bad_row: str = "error"
    overwrite_cache: bool = False
    workers: int | None = None
    max_rows: int | None = None


@dataclass(frozen=True)
class Loaded:
    """A set's examples and counts, and the file with its broken rows."""

    pieces: Pieces
    report: SetReport
    bad_rows: Path
    key: str


def load(gatherer: Gatherer, reading: Reading) -> Loaded:
    """The prepared set. Raises DataError for broken rows (unless they are skipped) and where no row is left."""
    try:
        files = files_at(gatherer.entry.path)
        before = _marks(files)
        inputs = _inputs(gatherer, files, reading)
    except OSError as fault:
        what = f"cannot be read ({fault.strerror or fault})"
        raise DataError.one("DATA-FILE", what, str(fault.filename or gatherer.entry.path)) from None
    kept = None if reading.overwrite_cache else store.find(reading.cache_dir, inputs, say)
    if kept is None:
        say(f"cache miss: {gatherer.entry.name} ({_reason(reading, inputs)})")
        kept = store.build(reading.cache_dir, inputs, lambda folder: _make(folder, gatherer, files, reading))
        _unchanged(files, before)
    else:
        say(f"cache hit: {gatherer.entry.name}")
    report = _report(gatherer.entry.name, kept)
    if report.bad and reading.on_bad_row == "error":
        raise _refusal([BadRow(**row) for row in _lines(kept.folder / BAD_ROWS)], report.bad)
    return Loaded(_some(Pieces.open(kept.folder), report, files), report, kept.folder / BAD_ROWS, kept.folder.name)


def _inputs(gatherer: Gatherer, files: tuple[Path, ...], reading: Reading) -> dict[str, Any]:
    entry = gatherer.entry
    return {
        "dataset": entry.name,
        "files": [str(file.resolve()) for file in files],
        "data": store.hash_of(files),
        "dataset_info": [entry.format, entry.ranking, asdict(entry.columns), asdict(entry.tags)],
        "max_samples": reading.max_rows,
        "template or tokenizer": gatherer.encoder.fingerprint(),
        "stage": gatherer.stage.name,
        **asdict(gatherer.limits),
        "keep_all": gatherer.keep_all,
        "version": [hone.__version__, store.FORMAT, _code()],
    }


@cache
def _code() -> str:
    """A hash of what turns rows into tokens, so that a changed program never meets examples of the old one."""
    whole = hashlib.sha256()
    for room in ("data", "dialogue", "media"):
        for file in sorted((Path(__file__).parents[1] / room).rglob("*")):
            if file.suffix in (".py", ".toml"):
                whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def _reason(reading: Reading, inputs: Mapping[str, Any]) -> str:
    if reading.overwrite_cache:
        return "overwrite_cache"
    changed = store.changes(reading.cache_dir, inputs)
    return "changed: " + ", ".join(changed) if changed else "not prepared before"


def _make(folder: Path, gatherer: Gatherer, files: tuple[Path, ...], reading: Reading) -> dict[str, Any]:
    made = Unfinished(folder)
    if made.rows:
        say(f"going on with {gatherer.entry.name}: {made.rows:,} rows were finished before")
    size = sum(file.stat().st_size for file in files)
    with Progress(gatherer.entry.name, size, begun=made.rows) as progress, _uncollected():
        rows = itertools.islice(read_rows(files, progress.seen), made.rows, reading.max_rows)
        for batch in _gathered(gatherer, rows, reading):
            made.add(batch)
            progress.done(batch.rows)
    facts = made.finish()
    broken = _refusal(made.bad, facts["bad"]).faults if made.bad and reading.on_bad_row == "error" else ()
    long = _refusal(made.overlong, facts["overlong"], TOO_LONG).faults if made.overlong else ()
    DataError.all_of([*broken, *long])
    return facts


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for circles of objects: rows are in none, and among so many it costs more than the work."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _gathered(gatherer: Gatherer, rows: Iterable[Row | BadRow], reading: Reading) -> Iterator[Gathered]:
    batches = _batches(rows)
    worth = (WORTH_A_FORK if starts_quickly() else WORTH_A_WORKER) // BATCH
    first = list(itertools.islice(batches, worth))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = (reading.workers or cores) if len(first) == worth else 1
    if workers > cores:
        say(f"preprocessing_num_workers: {workers} are more than the {cores} cores here, so {cores} work")
    yield from in_order(gatherer, itertools.chain(first, batches), workers=min(workers, cores))


def _batches(rows: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    source = iter(rows)
    while batch := list(itertools.islice(source, BATCH)):
        yield batch


def _report(name: str, kept: store.Kept) -> SetReport:
    facts = kept.facts
    pieces = Pieces.open(kept.folder)
    return SetReport(
        name=name,
        rows=facts.get("rows", 0),
        kept=len(pieces),
        cut=facts.get("cut", 0),
        lost=facts.get("lost", 0),
        lost_learned=facts.get("lost_learned", 0),
        tokens=len(pieces.input_ids),
        learned=int(pieces.learned.sum()),
        bad=facts.get("bad", 0),
        duplicates=len(pieces) - len(np.unique(pieces.digests)),
        placeholders=facts.get("placeholders", 0),
        dropped={reason: tuple(rows) for reason, rows in facts.get("dropped", {}).items()},
    )


def _some(pieces: Pieces, report: SetReport, files: tuple[Path, ...]) -> Pieces:
    """The pieces, if there are any."""
    where = str(files[0]) if len(files) == 1 else str(files[0].parent)
    if not report.rows:
        raise DataError.one(
            "DATA-EMPTY", "0 rows in the data set", f"{report.name} ({where})", "put rows into the file"
        )
    if not len(pieces):
        reasons = [f"{len(rows)} × {reason}" for reason, rows in report.dropped.items()]
        reasons += [f"{report.bad} × broken"] if report.bad else []
        what = f"none of {report.rows} rows has tokens to train on ({'; '.join(reasons)})"
        raise DataError.one("DATA-EMPTY", what, f"{report.name} ({where})", "check columns, answers and cutoff_len")
    return pieces


def _refusal(bad: list[BadRow], count: int, fix: str = BROKEN) -> DataError:
    faults = [Fault(row.code, row.what, row.where, fix) for row in bad[:NAMED]]
    if count > len(faults):
        more = "more broken rows" if fix == BROKEN else "more rows as long"
        faults.append(Fault(bad[0].code, f"and {count - len(faults)} {more}", bad[0].file))
    return DataError(*faults)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as stream:
        for line in itertools.islice(stream, NAMED):
            yield json.loads(line)


def _marks(files: tuple[Path, ...]) -> list[tuple[int, int]]:
    return [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _unchanged(files: tuple[Path, ...], before: list[tuple[int, int]]) -> None:
    if _marks(files) != before:
        raise DataError.one("DATA-CHANGED", "the file changed while it was read", str(files[0]), "start again")


def collect_bad_rows(loaded: Iterable[Loaded], run_dir: Path | None, tell: Callable[[str], None]) -> None:
    """Put the broken rows of all sets into the run directory, if there are any."""
    found = [one for one in loaded if one.report.bad]
    if not found or run_dir is None:
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / BAD_ROWS).open("w", encoding="utf-8") as target:
        for one in found:
            target.write(one.bad_rows.read_text(encoding="utf-8"))
    tell(f"skipped {sum(one.report.bad for one in found):,} broken rows, see {run_dir / BAD_ROWS}")
