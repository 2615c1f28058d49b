"""What an engine leaves of the machine's memory to others: few kernels are kept, and what is free is given back."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from pathlib import Path

KERNELS = 64
"""Kernels that oneDNN keeps at most. It makes one or two for each product and number of rows, half a megabyte to one
together, and by itself keeps 1024: a server then grows for thousands of requests. These serve the last 6 to 12 numbers
of rows; with eight clients a fourth more are made than with 1024, a thousandth of the time."""
NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")


def keep_few_kernels() -> None:
    """Bound what oneDNN keeps, unless the user has. Has no effect once oneDNN has computed in this process."""
    if not any(name in os.environ for name in NAMES):
        os.environ[NAMES[0]] = str(KERNELS)


def give_back_memory_after(worker: threading.Thread) -> None:
    """Once a thread has ended, return to the machine what was freed and the GNU C library keeps for later.

    Tensors of many sizes leave gaps that it keeps for good; torch's libraries free what they had for the thread only
    when it is gone. Returns at once; with another C library nothing is done.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return

    def give_back() -> None:
        worker.join()  # Python's part of it; what C++ keeps for a thread is freed behind that
        while Path(f"/proc/self/task/{worker.native_id}").exists():
            time.sleep(0.01)
        trim(0)

    threading.Thread(target=give_back, name="hone-thrift", daemon=True).start()
