"""The thread of vLLM's event loop: what it makes, what it raises, what it does not hear, and its end. Without vLLM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

import pytest

from hone.engines.vllm.thread import LoopThread
from hone.errors import MachineError


class Made:
    """What an engine is to the thread."""

    ended = 0

    def shutdown(self) -> None:
        self.ended += 1


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    thread = LoopThread(Made)
    yield thread
    thread.close()


async def give(value: Any) -> Any:
    return value


def test_coroutines_run_there_until_it_is_ended(thread: LoopThread) -> None:
    assert thread.do(give(7)).result(5) == 7
    thread.close()
    thread.close()
    assert thread.made.ended == 1 and not thread.thread.is_alive()
    with pytest.raises(MachineError, match="was ended"):
        thread.do(give(7))


def test_what_the_making_raises_is_raised() -> None:
    def broken() -> Any:
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        LoopThread(broken)


def test_processes_that_start_from_it_do_not_hear_an_interrupt() -> None:
    """Also when multiprocessing's tracker was not running before: its start would undo that."""
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
    thread = LoopThread(Made)

    async def unheard() -> set[signal.Signals | int]:
        resource_tracker.ensure_running()  # as the start of any process does
        return signal.pthread_sigmask(signal.SIG_BLOCK, ())

    assert signal.SIGINT in thread.do(unheard()).result(5)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    thread.close()
