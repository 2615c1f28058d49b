"""The processes that train together: one group of them, which is left in order however the run ends."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hone.errors import DistributedError

GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "heartbeat")
"""Words with which the network says that another process is no more."""


def is_first_process() -> bool:
    """Whether this is the only process, or the one that writes for all."""
    return int(os.environ.get("RANK", "0") or 0) == 0


@contextmanager
def together() -> Iterator[None]:
    """Leave the process group at the end of the block, whatever ended it.

    The threads of a group hold tensors that belong to Python. Let live past the interpreter's end, they abort the
    process ("terminate called without an active exception") when they let go of one. So everything that holds the
    group is dropped here, and its threads are joined, while the interpreter is whole. After a success the processes
    wait for each other first: who leaves early would look dead to the others. A process that another one's end has
    stopped says so: DistributedError.
    """
    if "RANK" in os.environ:
        # Its functions take the group that exists when they are defined as a default, and would hold it for ever.
        importlib.import_module("torch.distributed.nn.functional")
    try:
        yield
    except BaseException as reason:
        if _group():
            traceback.clear_frames(reason.__traceback__)
            _leave()
        if isinstance(reason, RuntimeError) and several() and any(words in str(reason) for words in GONE):
            raise DistributedError.one(
                "DIST-PEER", "another process of this run ended or cannot be reached", f"process {os.environ['RANK']}",
                "its own last words say why; the checkpoints are intact",
            ) from reason  # fmt: skip
        raise
    if group := _group():
        group.barrier()
        _leave()


def several() -> bool:
    """Whether this run has more than one process."""
    return int(os.environ.get("WORLD_SIZE", "1") or 1) > 1


def _group() -> Any:
    """The module that holds the group, None where there is no group; never the reason that torch is imported."""
    module = sys.modules.get("torch.distributed")
    return module if module is not None and module.is_available() and module.is_initialized() else None


def _leave() -> None:
    gc.collect()  # what the trainer left behind holds the group too, in circles
    _group().destroy_process_group()
    gc.collect()
