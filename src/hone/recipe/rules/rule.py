"""A broken rule: the keys it is about, and the sentence for the person who can mend it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Broken:
    """`keys` are named in the fault; `weighed` were only looked at. A faulty one excuses the rule."""

    keys: tuple[str, ...]
    fix: str
    code: str = "CFG-CONFLICT"
    weighed: tuple[str, ...] = ()


def missing(key: str, fix: str, *weighed: str) -> Broken:
    """A key that has to be given."""
    return Broken((key,), fix, "CFG-MISSING", weighed)
