"""Arrow files, as streams or with an index; those that the library `datasets` keeps are of this kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hone.data.row import BadRow, Row, Seen, unseen
from hone.data.sources._columns import pyarrow, readable, rows_of


def read(file: Path, seen: Seen = unseen) -> Iterator[Row | BadRow]:
    """The rows in order. Raises DataError for a file that is damaged, MachineError where pyarrow is not there."""
    if not file.stat().st_size:
        return
    library = pyarrow()
    with readable(file, "arrow"), library.memory_map(str(file)) as stream:
        yield from rows_of(file, _batches(library, stream, seen))


def _batches(library: Any, stream: Any, seen: Seen) -> Iterator[Any]:
    start = stream.read(6)
    stream.seek(0)
    if start == b"ARROW1":
        with library.ipc.open_file(stream) as table:
            for number in range(table.num_record_batches):
                yield _told(table.get_batch(number), seen)
        return
    with library.ipc.open_stream(stream) as batches:
        for batch in batches:
            yield _told(batch, seen)


def _told(batch: Any, seen: Seen) -> Any:
    # The batch lies in the file as it is: damage would send the library outside of its memory, if not looked for first.
    batch.validate(full=True)
    seen(batch.nbytes)
    return batch
