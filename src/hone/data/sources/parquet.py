"""Parquet files, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hone.data.row import BadRow, Row, Seen, unseen
from hone.data.sources._columns import AT_ONCE, pyarrow, readable, rows_of


def read(file: Path, seen: Seen = unseen) -> Iterator[Row | BadRow]:
    """The rows in order. Raises DataError for a file that is damaged, MachineError where pyarrow is not there."""
    library = pyarrow()
    with readable(file, "parquet"), library.parquet.ParquetFile(file) as table:
        size = file.stat().st_size / max(table.metadata.num_rows, 1)
        yield from rows_of(file, _batches(table, seen, size))


def _batches(table: Any, seen: Seen, size: float) -> Iterator[Any]:
    for batch in table.iter_batches(batch_size=AT_ONCE, use_threads=False):
        seen(round(batch.num_rows * size))
        yield batch
