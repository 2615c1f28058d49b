"""The thread of vLLM's event loop: started with its engine, asked from any other thread, ended with the program."""

from __future__ import annotations

import asyncio
import atexit
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from multiprocessing import resource_tracker
from typing import Any

from hone.errors import MachineError


class LoopThread:
    """Runs coroutines around what `make` makes; raises what it raises."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.loop = asyncio.new_event_loop()
        self.closed = False
        self.thread = threading.Thread(target=self._run, name="hone-vllm", daemon=True)
        self.thread.start()
        try:
            self.made: Any = self.do(_make(make)).result()
        except BaseException:
            self.loop.call_soon_threadsafe(self.loop.stop)
            raise
        atexit.register(self.close)

    def do(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Start it; its result comes by the future. Raises MachineError after the end."""
        if self.closed:
            work.close()
            raise MachineError.one("VLLM-ENDED", "the engine was ended")
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """End the engine's processes, then the thread."""
        atexit.unregister(self.close)
        if not self.closed:
            self.closed = True
            self.made.shutdown()
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(5)

    def _run(self) -> None:
        # An interrupt ends an answer, not the engine: its processes inherit that they do not hear it. The tracker comes
        # first: when it starts, it has the thread hear interrupts again.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


async def _make(make: Callable[[], Any]) -> Any:
    return make()
