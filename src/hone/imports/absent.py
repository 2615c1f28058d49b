"""A package that counts as not installed for a while, for libraries that import it only to know its classes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(name: str) -> Iterator[None]:
    """While this lasts, importing or finding the package fails as if it were not installed; one that is already here
    stays."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # Python's own mark for "not to be found"
    try:
        yield
    finally:
        if sys.modules.get(name, name) is None:
            del sys.modules[name]
