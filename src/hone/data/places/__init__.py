"""Bringing rows from where they lie onto this machine. Each module here knows one place; the folder is the registry."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hone import registry
from hone.data.book import Entry
from hone.errors import MachineError

Fill = Callable[[Path], None]


def brought(entry: Entry, cache_dir: Path) -> Entry:
    """The entry with its rows in a file or folder of this machine, fetched below `cache_dir` if they lie elsewhere.

    Raises DataError where there is no such set, MachineError where the place cannot be reached or a package is missing.
    """
    if entry.place == "file":
        return entry
    path: Path = registry.find(__name__, entry.place).fetch(entry, cache_dir / "fetched")
    return replace(entry, place="file", root=path.parent, location=path.name)


def once(folder: Path, fill: Fill) -> Path:
    """The folder, filled by `fill` unless it is there; it appears whole or not at all."""
    if folder.exists():
        return folder
    draft = folder.with_name(f"{folder.name}.tmp-{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True, mode=0o700)
        fill(draft)
        draft.rename(folder)
    except OSError as fault:
        if not folder.exists():
            fix = "free some room, or set HONE_CACHE to another folder"
            raise MachineError.one("CACHE-DIR", fault.strerror or str(fault), str(folder.parent), fix) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder
