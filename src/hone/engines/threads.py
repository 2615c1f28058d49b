"""The threads that torch keeps for each thread that ever asked it to compute: given back where no more is asked."""

from __future__ import annotations

import ctypes
import sys

SOFT = 1
"""`omp_pause_soft` of OpenMP 5.0: what was given back is made again when it is next needed."""


def give_back_threads() -> None:
    """End the team of threads that computed for the caller, if there is one.

    OpenMP keeps a team for every thread that ever computed. As soon as all teams together have more threads than there
    are cores, GNU's makes every team sleep and wake at each operation, which doubles the time of a one-token step. So
    whoever has loaded a model that another thread will run gives its team back. Elsewhere nothing is done.
    """
    if sys.platform != "linux":
        return
    pause = getattr(ctypes.CDLL(None), "omp_pause_resource_all", None)
    if pause is not None:
        pause(SOFT)
