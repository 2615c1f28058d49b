"""JSON lines: one object a line; lines end at line feeds only, so that U+2028 stays inside a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hone.data.row import BadRow, Row, Seen, unseen
from hone.data.sources._encoding import MARK, first_character, not_utf8, refuse_wide
from hone.data.sources._list import read_list
from hone.data.sources._open import opened
from hone.data.sources._values import Broken, decode

LONGEST_OPENING = 65536
"""Bytes of a first line that may be a broken row; a longer one is a list written without line ends."""


def read(file: Path, seen: Seen = unseen) -> Iterator[Row | BadRow]:
    """One line at a time. A file that holds a JSON list is read as that, whatever its ending."""
    refuse_wide(file)
    if first_character(file) == "[" and not _line_is_whole(file):
        yield from read_list(file, seen)
    else:
        yield from read_lines(file, seen)


def _line_is_whole(file: Path) -> bool:
    """Whether the list that opens the file ends on its own line and more lines follow: then lines are rows."""
    with opened(file) as stream:
        first = stream.readline(LONGEST_OPENING)
        while first.strip() in (b"", MARK):
            first = stream.readline(LONGEST_OPENING)
        more = first.endswith(b"\n") and any(line.strip() for line in stream)
    try:
        decode(first.removeprefix(MARK).decode().strip())
    except (Broken, UnicodeDecodeError):
        return False
    return more


def read_lines(file: Path, seen: Seen = unseen) -> Iterator[Row | BadRow]:
    """The rows of a JSONL file; blank lines are no rows."""
    number = 0
    with opened(file) as stream:
        for line, raw in enumerate(stream, start=1):
            seen(len(raw))
            text = _text(file, raw.removeprefix(MARK) if line == 1 else raw)
            if not text.strip():
                continue
            number += 1
            yield _row(file, number, line, text)


def _text(file: Path, raw: bytes) -> str:
    try:
        return raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise not_utf8(file) from None


def _row(file: Path, number: int, line: int, text: str) -> Row | BadRow:
    start = len(text) - len(text.lstrip())
    try:
        value, end = decode(text, start)
        if text[end:].strip():
            raise Broken("extra text after the value", end)
    except Broken as fault:
        return BadRow(str(file), number, line, fault.position + 1, "DATA-JSON", fault.what, text)
    return Row(str(file), number, line, value)
