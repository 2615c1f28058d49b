"""All of it at once, for a process that is Hone's own: each library is lightened at the moment it is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from hone.imports.absent import absent
from hone.imports.asleep import alone, let_torch_sleep
from hone.imports.hooks import Surroundings, during_import
from hone.imports.structure import READER, keep_structures

SHARDING = "accelerate.utils.other"


def lighten() -> None:
    """From now on transformers is told what it exports, and torch, transformers and PEFT leave alone what only some
    runs use: the compiler, tensors in shards, bitsandbytes. Costs nothing until they are imported."""
    keep_structures()
    during_import("torch", _falls_asleep)
    during_import(READER, _unsharded(READER))
    during_import(SHARDING, _unsharded(SHARDING))
    during_import("peft", _without_bitsandbytes)


@contextmanager
def _falls_asleep() -> Iterator[None]:
    yield
    let_torch_sleep()


@cache
def _unsharded(name: str) -> Surroundings:
    """A process that is alone holds no tensor in shards, and the library need not import what makes them."""

    @contextmanager
    def told() -> Iterator[None]:
        yield
        if alone():
            sys.modules[name].is_torch_distributed_available = lambda: False  # type: ignore[attr-defined]

    return told


def _without_bitsandbytes() -> AbstractContextManager[None]:
    """PEFT imports it to know its classes; a quantised model asks for them again (`hone.models.tuners`)."""
    return absent("bitsandbytes")
