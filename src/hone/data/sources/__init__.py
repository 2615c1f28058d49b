"""Rows out of files. Each module here reads one kind of file, named for its ending; the folder is the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hone import registry
from hone.data.row import BadRow, Row, Seen, unseen
from hone.data.sources._open import DAMAGED, inner
from hone.errors import DataError

SAVED = ("state.json", "dataset_dict.json")
COLUMNS = ("arrow", "parquet")
"""Kinds that are compressed inside."""


def endings() -> tuple[str, ...]:
    """The file endings that can be read, without the dot."""
    return registry.names(__name__)


def read_rows(files: tuple[Path, ...], seen: Seen = unseen) -> Iterator[Row | BadRow]:
    """The rows of `files`, in order, broken ones as BadRow. `seen` is told of the bytes read.

    Raises DataError when a file cannot be read at all.
    """
    for file in files:
        try:
            yield from registry.find(__name__, _ending(file)).read(file, seen)
        except DAMAGED as fault:
            what = f"cannot be read to its end ({getattr(fault, 'strerror', None) or fault})"
            raise DataError.one("DATA-FILE", what, str(file), "write or download it again") from None


def files_at(path: Path) -> tuple[Path, ...]:
    """The file at `path`, or the files of a folder, which share one ending; sorted by name."""
    if path.is_file():
        _ending(path)
        return (path,)
    if not path.is_dir():
        raise DataError.one("DATA-FILE", "no such file", str(path), "check file_name and dataset_dir")
    files = tuple(sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")))
    if any(file.name in SAVED for file in files):
        # A folder that `datasets` saved: its rows are in Arrow files, beside descriptions of them.
        files = tuple(file for file in files if file.suffix == ".arrow") or _splits(path)
    kinds = {_ending(file) for file in files}
    if not files:
        raise DataError.one("DATA-EMPTY", "0 rows in an empty folder", str(path), "put a data file there")
    if len(kinds) > 1:
        raise DataError.one("DATA-FILE", f"files of several kinds ({', '.join(sorted(kinds))})", str(path))
    return files


def _splits(path: Path) -> tuple[Path, ...]:
    names = ", ".join(sorted(str(folder) for folder in path.iterdir() if folder.is_dir()))
    raise DataError.one("DATA-FILE", "the folder holds several splits", str(path), f"name one of them: {names}")


def _ending(file: Path) -> str:
    ending = inner(file).suffix.lower().removeprefix(".")
    packed = inner(file) != file
    if ending not in endings() or (packed and ending in COLUMNS):
        known = ", ".join(endings())
        whole = "".join(file.suffixes[-2:]) if packed else f".{ending}"
        fix = f"use one of: {known}; texts may be packed (.gz, .zst)"
        raise DataError.one("DATA-FILE", f"cannot read `{whole}` files", str(file), fix)
    return ending
