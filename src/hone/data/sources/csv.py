"""CSV: the first line names the columns; an empty cell is missing."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hone.data.row import BadRow, Row, Seen, unseen
from hone.data.sources._encoding import MARK, not_utf8, refuse_wide
from hone.data.sources._open import opened
from hone.errors import DataError

LONGEST = 1 << 28
"""Letters of a cell; a quote that is never closed must not swallow a whole disk."""


def read(file: Path, seen: Seen = unseen) -> Iterator[Row | BadRow]:
    """One row at a time; a row may go over several lines. Raises DataError for a header that cannot be."""
    refuse_wide(file)
    csv.field_size_limit(LONGEST)
    with opened(file) as stream:
        lines = _lines(file, stream, seen)
        first = next(lines, "")
        rows = csv.reader(_again(first, lines), delimiter=_delimiter(first), strict=True)
        names = _header(file, rows)
        number = 0
        while True:
            line = rows.line_num + 1
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as fault:
                number += 1
                yield BadRow(str(file), number, line, 1, "DATA-CSV", str(fault))
                continue
            if cells:
                number += 1
                yield _row(file, number, line, names, cells)


def _row(file: Path, number: int, line: int, names: list[str], cells: list[str]) -> Row | BadRow:
    if len(cells) != len(names):
        what = f"{len(cells)} cells, where the header has {len(names)}"
        return BadRow(str(file), number, line, 1, "DATA-CSV", what, ",".join(cells))
    return Row(str(file), number, line, {name: cell or None for name, cell in zip(names, cells, strict=True)})


def _header(file: Path, rows: Iterator[list[str]]) -> list[str]:
    try:
        names = [name.strip() for name in next(rows, [])]
    except csv.Error as fault:
        raise DataError.one("DATA-CSV", str(fault), f"{file}:1", "the first line names the columns") from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError.one("DATA-CSV", f"two columns are called `{twice[0]}`", f"{file}:1", "rename one")
    return names


def _delimiter(header: str) -> str:
    return "," if "," in header else next((mark for mark in "\t;" if mark in header), ",")


def _lines(file: Path, stream: BinaryIO, seen: Seen) -> Iterator[str]:
    for number, raw in enumerate(stream):
        seen(len(raw))
        try:
            yield (raw if number else raw.removeprefix(MARK)).decode()
        except UnicodeDecodeError:
            raise not_utf8(file) from None


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest
