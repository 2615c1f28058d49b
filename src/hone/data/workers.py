"""The same task on many inputs, in several processes, results in order; a worker that dies ends the run at once."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from hone.errors import HoneError, MachineError

In = TypeVar("In")
Out = TypeVar("Out")


def in_order(task: Callable[[In], Out], inputs: Iterable[In], *, workers: int) -> Iterator[Out]:
    """`task` of each input, in the order of the inputs. With one worker everything happens here.

    Raises what the task raises (HoneError), or MachineError when a worker was killed.
    """
    if workers <= 1:
        yield from map(task, inputs)
        return
    pool = _Pool(task, workers)
    try:
        yield from pool.results(enumerate(inputs))
    finally:
        pool.stop()


def starts_quickly() -> bool:
    """Whether a worker is a fork, at work in milliseconds; a new process first reads the program, for seconds.

    Forked only where this process has one thread: a fork would copy the locks that other threads hold at that moment.
    The thread that redraws progress bars does not count: a worker draws none.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    return sys.platform == "linux" and all(thread.name == "tqdm_monitor" for thread in others)


@dataclass
class _Worker:
    number: int
    process: Any
    connection: Connection
    busy: bool = field(default=False)


class _Pool:
    def __init__(self, task: Callable[[Any], Any], count: int) -> None:
        forks = starts_quickly()
        context: Any = multiprocessing.get_context("fork" if forks else "spawn")
        self.workers: list[_Worker] = []
        with _tokenizers_alone():
            for number in range(1, count + 1):
                here, there = context.Pipe()
                # What a fork inherits it closes, so that every worker sees the end of this process.
                inherited = [here, *(worker.connection for worker in self.workers)] if forks else []
                words = (there, task, inherited)
                process = context.Process(target=_work, args=words, daemon=True, name=f"hone-data-{number}")
                process.start()
                there.close()
                self.workers.append(_Worker(number, process, here))

    def results(self, jobs: Iterator[tuple[int, Any]]) -> Iterator[Any]:
        done: dict[int, Any] = {}
        given = wanted = 0
        open_end = True
        while open_end or wanted < given:
            # What is done but cannot be given out yet is held in memory: do not run far ahead of it.
            while open_end and len(done) < 4 * len(self.workers) and (idle := self._idle()):
                job = next(jobs, None)
                open_end = job is not None
                if job is not None:
                    self._send(idle, job)
                    given += 1
            done.update(self._receive() if given > wanted + len(done) else [])
            while wanted in done:
                yield done.pop(wanted)
                wanted += 1

    def _idle(self) -> _Worker | None:
        # Only an idle worker reads: a second input for one that is writing its result would block both for ever.
        return next((worker for worker in self.workers if not worker.busy), None)

    def _send(self, worker: _Worker, job: tuple[int, Any]) -> None:
        try:
            worker.connection.send(job)
        except (BrokenPipeError, ConnectionError):
            raise self._lost(worker) from None
        worker.busy = True

    def _receive(self) -> Iterator[tuple[int, Any]]:
        ready = wait([worker.connection for worker in self.workers])
        for worker in self.workers:
            if worker.connection in ready:
                yield self._result(worker)

    def _result(self, worker: _Worker) -> tuple[int, Any]:
        try:
            number, result, fault = worker.connection.recv()
        except (EOFError, ConnectionError):
            raise self._lost(worker) from None
        worker.busy = False
        if fault is not None:
            raise fault[0](*fault[1])
        return number, result

    def _lost(self, worker: _Worker) -> HoneError:
        worker.process.join(5)
        code = worker.process.exitcode
        killed = f"killed (signal {-code})" if code is not None and code < 0 else f"ended (exit code {code})"
        likely = ", likely out of memory" if code == -signal.SIGKILL else ""
        fix = "free memory or lower preprocessing_num_workers; start again, and what was finished is used"
        return MachineError.one("DATA-WORKER", f"worker {worker.number} {killed}{likely}", "preparing data", fix)

    def stop(self) -> None:
        """End all workers, whatever they do."""
        for worker in self.workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(5)


@contextmanager
def _tokenizers_alone() -> Iterator[None]:
    """Tell the tokenizers library of the processes started here that each is to use one thread."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _work(connection: Connection, task: Callable[[Any], Any], inherited: Sequence[Connection]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in inherited:
        other.close()
    # Nothing here lives in circles, and to look for them takes a fifth of the time.
    gc.disable()
    while True:
        try:
            number, given = connection.recv()
        except (EOFError, ConnectionError):
            return
        answer: tuple[int, Any, Any]
        try:
            answer = (number, task(given), None)
        except HoneError as fault:
            answer = (number, None, (type(fault), fault.faults))
        except Exception as fault:
            answer = (number, None, (RuntimeError, (f"{type(fault).__name__}: {fault}",)))
        try:
            connection.send(answer)
        except (BrokenPipeError, ConnectionError):
            return
