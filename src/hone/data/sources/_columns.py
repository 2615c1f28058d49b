"""Tables of columns as rows: a few at a time, cells that cannot be read as broken rows, NaN as missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hone.data.row import BadRow, Row
from hone.errors import DataError, HoneError, MachineError

AT_ONCE = 256
"""Rows that are held as Python values."""


def pyarrow() -> Any:
    """The library, or the MachineError that says how to get it."""
    try:
        import pyarrow as library
        import pyarrow.parquet
    except ImportError:
        raise MachineError.one("PACKAGE", "pyarrow is not installed", "", "pip install pyarrow") from None
    return library


@contextmanager
def readable(file: Path, kind: str) -> Iterator[None]:
    """Whatever the library says of a damaged file is a DataError."""
    try:
        yield
    except (HoneError, GeneratorExit):
        raise
    except Exception as fault:
        what = f"not a whole {kind} file ({str(fault).splitlines()[0][:120] if str(fault) else type(fault).__name__})"
        raise DataError.one("DATA-FILE", what, str(file), "write or download it again") from None


def rows_of(file: Path, batches: Iterable[Any]) -> Iterator[Row | BadRow]:
    """The rows of record batches, in order."""
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, AT_ONCE):
            piece = batch.slice(start, AT_ONCE)
            yield from _rows(file, piece, number)
            number += piece.num_rows


def _rows(file: Path, piece: Any, before: int) -> Iterator[Row | BadRow]:
    floats = any(kind in str(piece.schema) for kind in ("float", "double"))
    try:
        values = piece.to_pylist()
    except (ValueError, OverflowError, ArithmeticError):
        yield from _one_by_one(file, piece, before)
        return
    for number, value in enumerate(values, start=before + 1):
        yield Row(str(file), number, number, _cleaned(value) if floats else value)


def _one_by_one(file: Path, piece: Any, before: int) -> Iterator[Row | BadRow]:
    for place in range(piece.num_rows):
        number = before + place + 1
        try:
            yield Row(str(file), number, number, _cleaned(piece.slice(place, 1).to_pylist()[0]))
        except (ValueError, OverflowError, ArithmeticError) as fault:
            yield BadRow(str(file), number, number, 0, "DATA-CELL", f"a cell cannot be read ({fault})")


def _cleaned(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return {key: _cleaned(item) for key, item in value.items()} if isinstance(value, dict) else value
