"""Files as bytes, whether they are compressed or not."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from hone.errors import MachineError

COMPRESSED = (".gz", ".zst")
"""Endings behind the ending that says what is inside: `rows.jsonl.gz`."""
DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a compressed file that is damaged raises."""


def inner(file: Path) -> Path:
    """The name without the ending of a compression."""
    return file.with_suffix("") if file.suffix.lower() in COMPRESSED else file


def opened(file: Path) -> BinaryIO:
    """The file's content, for reading. Raises OSError, MachineError where zstandard is needed and not there."""
    ending = file.suffix.lower()
    if ending == ".gz":
        return cast(BinaryIO, gzip.open(file, "rb"))
    return _zstandard(file) if ending == ".zst" else file.open("rb")


def _zstandard(file: Path) -> BinaryIO:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return cast(BinaryIO, zstd.open(file, "rb"))
    try:
        import zstandard
    except ImportError:
        fix = "pip install zstandard, or pack the file with gzip"
        raise MachineError.one("PACKAGE", "zstandard is not installed", str(file), fix) from None
    reader: Any = zstandard.ZstdDecompressor().stream_reader(file.open("rb"), read_across_frames=True, closefd=True)
    return cast(BinaryIO, io.BufferedReader(_Readable(reader)))


class _Readable(io.RawIOBase):
    """What io.BufferedReader asks of a stream; its faults are those of a damaged file."""

    def __init__(self, reader: Any) -> None:
        super().__init__()
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        try:
            return int(self._reader.readinto(target))
        except Exception as fault:
            raise OSError(str(fault)) from None

    def close(self) -> None:
        self._reader.close()
        super().close()
