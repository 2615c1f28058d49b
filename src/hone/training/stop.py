"""Signals to stop: the first lets a run save, the second ends it at once; the exit code says which signal it was."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = b"\nstopping: this step is finished and saved first; a second signal ends at once\n"


class Stopped(KeyboardInterrupt):
    """A signal has ended the run. As an interrupt it passes all code on its way that only looks for what went wrong."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number


class Stop:
    """Which signal came, and whether it may end the run where it stands, or at the end of a step."""

    def __init__(self) -> None:
        self.number = 0
        self.patient = False
        """Whether there is something to save first."""

    def check(self) -> None:
        """Raise Stopped if a signal came."""
        if self.number:
            raise Stopped(self.number)

    def release(self) -> None:
        """All that could be lost is saved: end here if a signal came, and wherever the next one finds the run."""
        self.patient = False
        self.check()

    def _hear(self, number: int, _: Any) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number
        if not self.patient:
            raise Stopped(number)
        os.write(2, NOTICE)  # not through the stream, which may be in the middle of a line


@contextmanager
def listening() -> Iterator[Stop]:
    """Hear SIGINT and SIGTERM; outside the main thread nobody can, and nothing is heard."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop._hear) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
