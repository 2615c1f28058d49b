"""JSON files: a list of objects, or lines of objects, which many files with this ending hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hone.data.row import BadRow, Row, Seen, unseen
from hone.data.sources._encoding import CHUNK, MARK, first_character, refuse_wide
from hone.data.sources._list import read_list
from hone.data.sources._open import opened
from hone.data.sources._values import Broken, decode
from hone.data.sources.jsonl import read_lines
from hone.errors import DataError


def read(file: Path, seen: Seen = unseen) -> Iterator[Row | BadRow]:
    """The rows of a list, or of lines of objects, which many files with this ending hold."""
    refuse_wide(file)
    first = first_character(file)
    if first == "[":
        yield from read_list(file, seen)
    elif first == "{":
        yield from _read_objects(file, seen)
    elif first:
        raise DataError.one("DATA-JSON", "neither a list nor an object", f"{file}:1:1", "write [{…}, {…}]")


def _read_objects(file: Path, seen: Seen) -> Iterator[Row | BadRow]:
    # One object spread over lines is one row; lines of objects are many. The first line tells.
    with opened(file) as stream:
        head = stream.readline(CHUNK).removeprefix(MARK)
        while head and not head.strip():
            head = stream.readline(CHUNK)
    if head.strip() == b"{" or not head.rstrip().endswith(b"}"):
        with opened(file) as stream:
            text = stream.read().removeprefix(MARK).decode(errors="replace")
        try:
            value, end = decode(text, len(text) - len(text.lstrip()))
        except Broken:
            value, end = None, 0
        if isinstance(value, dict) and not text[end:].strip():
            if value:
                yield Row(str(file), 1, 1, value)
            return
    for row in read_lines(file, seen):
        if not (isinstance(row, Row) and row.value == {}):
            yield row
