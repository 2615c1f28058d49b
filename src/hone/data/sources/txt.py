"""Plain text: one row a line, under the key `text`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hone.data.row import BadRow, Row, Seen, unseen
from hone.data.sources._encoding import MARK, not_utf8, refuse_wide
from hone.data.sources._open import opened


def read(file: Path, seen: Seen = unseen) -> Iterator[Row | BadRow]:
    """One line at a time; blank lines are no rows."""
    refuse_wide(file)
    number = 0
    with opened(file) as stream:
        for line, raw in enumerate(stream, start=1):
            seen(len(raw))
            try:
                text = (raw.removeprefix(MARK) if line == 1 else raw).decode().rstrip("\r\n")
            except UnicodeDecodeError:
                raise not_utf8(file) from None
            if text.strip():
                number += 1
                yield Row(str(file), number, line, {"text": text})
