"""One setting as it was written: its name, its value, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hone.errors import Fault


@dataclass(frozen=True)
class Entry:
    """A name and its value. `where` is `file:line`, `command line`, or empty for values from Python."""

    name: str
    value: Any
    where: str = ""


def twice(entries: Iterable[Entry]) -> list[Fault]:
    """A fault for every name that one file gives more than once, naming both places."""
    first: dict[str, Entry] = {}
    faults = []
    for entry in entries:
        earlier = first.setdefault(entry.name, entry)
        if earlier is not entry:
            line = earlier.where.rpartition(":")[2]
            faults.append(Fault("CFG-DUPLICATE", entry.name, entry.where, f"already given in line {line}; keep one"))
    return faults
