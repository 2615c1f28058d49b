"""All of it at once, for a process that is Hone's own: each library is lightened at the moment it is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from hone.imports.absent import absent
from hone.imports.asleep import alone, let_torch_sleep
from hone.imports.hooks import during_import
from hone.imports.structure import READER, keep_structures


def lighten() -> None:
    """From now on transformers is told what it exports, and torch, transformers and PEFT leave alone what only some
    runs use: the compiler, tensors in shards, bitsandbytes. Costs nothing until they are imported."""
    keep_structures()
    during_import("torch", _falls_asleep)
    during_import(READER, _unsharded)
    during_import("peft", _without_bitsandbytes)


@contextmanager
def _falls_asleep() -> Iterator[None]:
    yield
    let_torch_sleep()


@contextmanager
def _unsharded() -> Iterator[None]:
    """A process that is alone holds no tensor in shards, and transformers need not import what makes them."""
    yield
    if alone():
        sys.modules[READER].is_torch_distributed_available = lambda: False  # type: ignore[attr-defined]


def _without_bitsandbytes() -> AbstractContextManager[None]:
    """PEFT imports it to know its classes; a quantised model asks for them again (`hone.models.tuners`)."""
    return absent("bitsandbytes")
