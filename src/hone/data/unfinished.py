"""A set that is being prepared: committed every few thousand rows, so that a run that was ended goes on from there."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hone.data.gather import Gathered, added
from hone.data.pieces import FILES, Writer
from hone.data.row import BadRow

COMMIT = "commit.json"
BAD_ROWS = "bad_rows.jsonl"
EVERY = 10_000
"""Rows between two commits."""
NAMED = 20
"""Broken rows that an error names."""
CHUNK = 1 << 22


class Unfinished:
    """A folder's examples, broken rows and counts so far. `bad` and `overlong`: the first of those that are refused."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = _committed(folder)
        self.total: Counter[str] = Counter(found["total"] if found else {})
        self.dropped: dict[str, list[int]] = found["dropped"] if found else {}
        self.bad = _rows(found["bad"] if found else ())
        self.overlong = _rows(found["overlong"] if found else ())
        self._sums: dict[str, list[int]] = found["files"] if found else {}
        kept = {name: size for name, (size, _) in self._sums.items()}
        self._writer = Writer(folder, {name: kept[f"{name}.bin"] for name in FILES} if found else None)
        self._bad = (folder / BAD_ROWS).open("r+b" if found else "wb")
        self._bad.truncate(kept.get(BAD_ROWS, 0))
        self._bad.seek(kept.get(BAD_ROWS, 0))
        self._next = self.rows + EVERY

    @property
    def rows(self) -> int:
        """Rows that are done."""
        return self.total["rows"]

    def add(self, batch: Gathered) -> None:
        """Put a batch behind what is there, and commit when it is time."""
        self._writer.append(batch.pieces)
        self._bad.writelines(_line(row) for row in batch.bad)
        added(self.total, batch)
        for name in ("bad", "overlong"):
            rows, held = getattr(batch, name), getattr(self, name)
            held.extend(rows[: max(NAMED - len(held), 0)])
            self.total[name] += len(rows)
        for reason, numbers in batch.dropped.items():
            self.dropped.setdefault(reason, []).extend(numbers)
        if self.rows >= self._next:
            self._commit()

    def finish(self) -> dict[str, Any]:
        """Close the files; the counts."""
        self._writer.close()
        self._bad.close()
        (self.folder / COMMIT).unlink(missing_ok=True)
        return {"bad": 0, "overlong": 0, **self.total, "dropped": self.dropped}

    def _commit(self) -> None:
        self._bad.flush()
        sizes = {f"{name}.bin": size for name, size in self._writer.flushed().items()} | {BAD_ROWS: self._bad.tell()}
        for name, size in sizes.items():
            before, value = self._sums.get(name, (0, 0))
            self._sums[name] = [size, checksum(self.folder / name, before, size, value)]
        draft = self.folder / f"{COMMIT}.tmp"
        refused = {"bad": [asdict(row) for row in self.bad], "overlong": [asdict(row) for row in self.overlong]}
        record = {"total": self.total, "dropped": self.dropped, "files": self._sums, **refused}
        draft.write_text(json.dumps(record), encoding="utf-8")
        draft.replace(self.folder / COMMIT)
        self._next = self.rows + EVERY


def checksum(file: Path, begin: int = 0, end: int | None = None, value: int = 0) -> int:
    """CRC-32 of the bytes from `begin` to `end`, going on from `value`."""
    left = (end if end is not None else file.stat().st_size) - begin
    with file.open("rb") as stream:
        stream.seek(begin)
        while left > 0 and (chunk := stream.read(min(CHUNK, left))):
            value = zlib.crc32(chunk, value)
            left -= len(chunk)
    return value


def _committed(folder: Path) -> Mapping[str, Any] | None:
    """The last commit, if the files still hold all that it says."""
    try:
        found: dict[str, Any] = json.loads((folder / COMMIT).read_text(encoding="utf-8"))
        whole = all(
            (folder / name).stat().st_size >= size and checksum(folder / name, 0, size) == value
            for name, (size, value) in found["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole else None


def _rows(found: Iterable[Mapping[str, Any]]) -> list[BadRow]:
    return [BadRow(**row) for row in found]


def _line(row: BadRow) -> bytes:
    return (json.dumps(asdict(row), ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
