"""A walk over all rows of a set, for what the counts of a preparation do not tell: lengths, thoughts, pairs, roles."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hone.data.gather import Gatherer
from hone.data.health.benchmarks import Benchmarks
from hone.data.health.twins import Twins
from hone.data.pieces import Pieces
from hone.data.row import BadRow, Row, RowFault
from hone.data.sources import files_at, read_rows
from hone.data.worth import digest, media_of, whole_text
from hone.dialogue.message import Message, Text, Thought
from hone.dialogue.records import Document, Feedback, Preference, Record
from hone.media.open import MediaFault, measured

UNCUT = 1 << 20
"""Tokens within which a row counts as whole."""
ROLES = "DATA-ROLES"
BATCH = 500
"""Rows that are encoded together."""
NAMED = 20
"""Broken rows that are named."""


@dataclass
class Survey:
    """What was seen of one set. `bad`: the first broken rows; `numbers`: the row of every text given to the
    twins; `asked`: the rows that hold a benchmark's question; `media`: how many of each kind; `unusable`: rows whose
    media are missing or broken, and why; `unseen`: why media cannot be trained on here, empty where they can."""

    name: str
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    records: int = 0
    thinking: int = 0
    equal_pairs: list[int] = field(default_factory=list)
    liked: int = 0
    disliked: int = 0
    broken: int = 0
    disordered: list[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    unseen: str = ""
    media: Counter[str] = field(default_factory=Counter)
    unusable: list[tuple[int, str]] = field(default_factory=list)


def survey(
    gatherer: Gatherer, twins: Twins, benchmarks: Benchmarks, *, media_dir: Path, max_rows: int | None = None
) -> Survey:
    """Read, understand and encode every row without a limit; nothing is kept but numbers. The texts go to `twins`.

    Raises DataError when a file cannot be read at all.
    """
    wide = replace(gatherer, limits=replace(gatherer.limits, cutoff_len=UNCUT, stream=False, on_overflow="truncate"))
    seen = Survey(gatherer.entry.name, unseen=gatherer.unseen)
    lengths: list[NDArray[np.int64]] = []
    rows = itertools.islice(read_rows(files_at(gatherer.entry.path)), max_rows)
    for batch in _batches(rows):
        gathered = wide(batch)
        lengths.append(_longest_segments(gathered.pieces))
        _note_broken(seen, gathered.bad)
        for row in batch:
            record = gatherer.record(row, []) if isinstance(row, Row) else None
            shows = isinstance(row, Row) and _note_media(seen, row, gatherer, media_dir)
            if isinstance(row, Row) and record is not None:
                _note(seen, row, record)
                if shows:  # words alone do not make two pictures alike
                    continue
                text = said(record)
                twins.add(text, digest(whole_text(record)))
                if benchmarks.asked_in(text):
                    seen.asked.append(row.number)
                seen.numbers.append(row.number)
    seen.lengths = np.concatenate(lengths) if lengths else seen.lengths
    return seen


def said(record: Record) -> str:
    """What is asked and answered, without the system's words, which many rows share."""
    if isinstance(record, Document):
        return record.text
    if isinstance(record, Preference):
        return "\n".join(_texts([*record.prompt.messages, record.chosen, record.rejected]))
    return "\n".join(_texts(record.conversation.messages))


def _texts(messages: Sequence[Message]) -> Iterator[str]:
    for message in messages:
        if message.role != "system":
            yield from (part.text if isinstance(part, Text | Thought) else repr(part) for part in message.parts)


def _batches(rows: Iterator[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def _longest_segments(pieces: Pieces) -> NDArray[np.int64]:
    """Tokens of the longest segment of each example: what a limit is held against."""
    starts = pieces.segment_offsets[:-1]
    if not len(starts):
        return np.empty(0, dtype=np.int64)
    longest: NDArray[np.int64] = np.maximum.reduceat(pieces.segments, starts).astype(np.int64)
    return longest


def _note_broken(seen: Survey, bad: Sequence[BadRow]) -> None:
    seen.broken += len(bad)
    seen.bad += bad[: max(NAMED - len(seen.bad), 0)]
    seen.disordered += [row.number for row in bad if row.code == ROLES]


def _note(seen: Survey, row: Row, record: Record) -> None:
    seen.records += 1
    seen.thinking += _thinks(record)
    if isinstance(record, Preference) and record.chosen.parts == record.rejected.parts:
        seen.equal_pairs.append(row.number)
    if isinstance(record, Feedback):
        seen.liked += record.good
        seen.disliked += not record.good


def _note_media(seen: Survey, row: Row, gatherer: Gatherer, media_dir: Path) -> bool:
    """Count what a row shows and plays, and look whether it is there. False for a row of words alone."""
    try:
        media = list(media_of(gatherer.read(row)))
    except RowFault:
        return False
    for medium in media:
        seen.media[medium.kind] += 1
        try:
            measured(medium, media_dir)
        except MediaFault as fault:
            seen.unusable.append((row.number, fault.what))
    return bool(media)


def _thinks(record: Record) -> bool:
    if isinstance(record, Document):
        return False
    if isinstance(record, Preference):
        return _has_thought([record.chosen])
    return _has_thought(record.conversation.messages)


def _has_thought(messages: Sequence[Message]) -> bool:
    return any(isinstance(part, Thought) and part.text.strip() for one in messages for part in one.parts)
