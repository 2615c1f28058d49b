"""A JSON list, read through a window that slides over the file, and picked up again behind a broken row."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from hone.data.row import BadRow, Row, Seen, unseen
from hone.data.sources._encoding import CHUNK, not_utf8
from hone.data.sources._open import opened
from hone.data.sources._values import Broken, decode

_SPACE = re.compile(r"[ \t\r\n]*")
_TO_NEXT = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=\{)")
_NEXT_ROW = re.compile(r"[}\]\"\w][ \t\r\n]*,?[ \t\r\n]*(?=\{)")

SPACES = 64
"""How far before a row its comma may stand."""


def read_list(file: Path, seen: Seen = unseen) -> Iterator[Row | BadRow]:
    """The rows of one JSON list."""
    with opened(file) as stream:
        yield from _List(file, stream, seen).rows()


class _List:
    """The window: `text` is what is held of the file, `position` where the next row begins in it. `line` is the line of
    the place `counted`; `column` is the column of the window's first character."""

    def __init__(self, file: Path, stream: BinaryIO, seen: Seen) -> None:
        self.file = file
        self.name = str(file)
        self.stream = stream
        self.seen = seen
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""
        self.position = 0
        self.line = 1
        self.column = 1
        self.counted = 0
        self.ended = False
        self.number = 0
        self.keys: set[str] = set()

    def rows(self) -> Iterator[Row | BadRow]:
        self._skip_space()
        self.position += 1
        self._skip_space()
        while self._here() not in ("]", ""):
            yield self._row()
            self._skip_space()
            if self._here() == ",":
                self.position += 1
                self._skip_space()
        yield from self._end()

    def _end(self) -> Iterator[BadRow]:
        if self._here() == "":
            yield self._bad("the list does not end: `]` is missing", self.position)
            return
        self.position += 1
        self._skip_space()
        if self._here():
            yield self._bad("extra text after the list", self.position)

    def _row(self) -> Row | BadRow:
        self._forget()
        self.number += 1
        line = self.line
        try:
            value, end = self._decoded()
            next_row = _TO_NEXT.match(self.text, end)
            if next_row is None:
                self._expect_separator(end)
        except Broken as fault:
            return self._skip_broken(fault)
        self.position = end if next_row is None else next_row.end()
        if isinstance(value, dict):
            self.keys.update(value)
        return Row(self.name, self.number, line, value)

    def _decoded(self) -> tuple[Any, int]:
        while True:
            try:
                value, end = decode(self.text, self.position)
            except Broken as fault:
                if not fault.more or not self._more():
                    raise
                continue
            # A number at the edge of the window may go on; anything else has its own end.
            if end < len(self.text) or not self._more():
                return value, end

    def _expect_separator(self, end: int) -> None:
        at = self._after_space(end)
        if self.text[at : at + 1] not in (",", "]", ""):
            raise Broken("a comma is missing between rows", at)

    def _skip_broken(self, fault: Broken) -> BadRow:
        # Where the next row begins: behind the fault, at an object that can be decoded and has a key that rows have.
        bad_at = fault.position
        start = self.position
        while True:
            found = self._next_row(max(bad_at, start + 1))
            if found is not None or not self._more():
                break
        bad = self._bad(fault.what, bad_at, self.text[start : found if found is not None else len(self.text)])
        self.position = found if found is not None else self._closing(start)
        return bad

    def _next_row(self, earliest: int) -> int | None:
        for match in _NEXT_ROW.finditer(self.text, max(earliest - SPACES, 0)):
            if match.end() < earliest:
                continue
            try:
                value, _ = decode(self.text, match.end())
            except Broken:
                continue
            if isinstance(value, dict) and (not self.keys or self.keys & value.keys()):
                return match.end()
        return None

    def _closing(self, start: int) -> int:
        end = len(self.text.rstrip())
        return end - 1 if end - 1 > start and self.text[end - 1] == "]" else len(self.text)

    def _bad(self, what: str, position: int, text: str = "") -> BadRow:
        newline = self.text.rfind("\n", 0, position)
        column = position - newline if newline >= 0 else self.column + position
        line = self.line + self.text.count("\n", self.counted, position)
        text = text.rstrip().rstrip(",").rstrip()
        return BadRow(self.name, max(self.number, 1), line, column, "DATA-JSON", what, text)

    def _here(self) -> str:
        return self.text[self.position : self.position + 1]

    def _skip_space(self) -> None:
        self.position = self._after_space(self.position)

    def _after_space(self, position: int) -> int:
        while True:
            match = _SPACE.match(self.text, position)
            position = match.end() if match else position
            if position < len(self.text) or not self._more():
                return position

    def _more(self) -> bool:
        """Read on, at least as much again as is held, so that a huge row is not tried too often."""
        if self.ended:
            return False
        chunk = self.stream.read(max(CHUNK, len(self.text)))
        self.ended = not chunk
        self.seen(len(chunk))
        try:
            self.text += self.decoder.decode(chunk, final=self.ended)
        except UnicodeDecodeError:
            raise not_utf8(self.file) from None
        return bool(chunk)

    def _forget(self) -> None:
        """Count the lines given out, and now and then drop the text given out."""
        self.line += self.text.count("\n", self.counted, self.position)
        self.counted = self.position
        if self.position < CHUNK:
            return
        gone = self.text[: self.position]
        self.column = self.column + len(gone) if "\n" not in gone else len(gone) - gone.rfind("\n")
        self.text = self.text[self.position :]
        self.position = self.counted = 0
