"""Results that are appended as they come, so that work that was killed is taken up where it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hone.log import say


class Unfinished:
    """A file of JSON lines, the first of which says what the work is (`mark`); another mark begins anew.

    A last line that was cut off by a kill is dropped.
    """

    def __init__(self, path: Path, mark: str) -> None:
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}
        whole = 0
        if path.is_file():
            content = path.read_bytes()
            lines = list(_lines(content))
            if lines and lines[0][0].get("mark") == mark:
                whole = lines[-1][1]
                self.rows = {row["row"]: row for row, _ in lines[1:] if isinstance(row.get("row"), int)}
            elif lines:
                say(f"{path.name} is of another recipe, model or data: begun anew")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if whole else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write({"mark": mark})

    def add(self, row: int, content: dict[str, Any]) -> None:
        """Write a row down; after this it survives a kill."""
        self.rows[row] = {"row": row, **content}
        self._write(self.rows[row])

    def close(self, *, done: bool) -> None:
        """Leave the file for the next run, or remove it when all is done."""
        self._file.close()
        if done:
            self.path.unlink(missing_ok=True)

    def _write(self, content: dict[str, Any]) -> None:
        self._file.write(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def mark_of(path: Path) -> str | None:
    """What work the file is of; None for no file, or one without a whole line."""
    first = next(_lines(path.read_bytes()), None) if path.is_file() else None
    return None if first is None else str(first[0].get("mark"))


def _lines(content: bytes) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole lines, and where each ends; what follows a broken one is left out."""
    end = 0
    for line in content.split(b"\n")[:-1]:
        end += len(line) + 1
        try:
            read = json.loads(line)
        except ValueError:
            return
        if not isinstance(read, dict):
            return
        yield read, end
