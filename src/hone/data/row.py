"""One row of a data file as it was read, and a row that could not be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

Seen = Callable[[int], None]
"""Told how many bytes were read."""


def unseen(count: int) -> None:
    """Nobody watches."""


class Row(NamedTuple):
    """A row's decoded value, its number in the file (from 1), and the line where it begins (from 1)."""

    file: str
    number: int
    line: int
    value: Any


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: where it stands, what is wrong, and its text for `bad_rows.jsonl`.

    `column` is 0 when the row was decoded, and its content is at fault.
    """

    file: str
    number: int
    line: int
    column: int
    code: str
    what: str
    text: str = ""

    @property
    def where(self) -> str:
        """`file:line:column`, or `file:line (row N)` for a row that was decoded."""
        place = f"{self.file}:{self.line}"
        return f"{place}:{self.column}" if self.column else f"{place} (row {self.number})"


class RowFault(Exception):  # noqa: N818 - it is a fault of the row, caught where rows are read
    """Raised while a row becomes a record: what is wrong with it."""

    def __init__(self, what: str, code: str = "DATA-ROW") -> None:
        super().__init__(what)
        self.what = what
        self.code = code
