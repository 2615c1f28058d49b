"""Who is answered when: requests join and leave at every step, and long prompts are read in pieces in between."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import torch

from hone.engines.base import Piece, QueueFullError
from hone.engines.request import Request
from hone.engines.thrift import give_back_memory_after

PIECE = 64
"""Tokens of prompts read at a time while answers are being written, so that these do not stall."""
LONG_PIECE = 512
"""The same while nobody is being answered."""
GLANCE = 0.1
"""Seconds between looks at whether the program ends."""
LINGER = 2.0
"""Seconds after which an idle thread ends; until then it holds the model."""


class AnyBoard(Protocol):
    """What runs a model over the requests under way."""

    def begin(self, request: Request) -> None:
        """A place for a request whose prompt is going to be read."""

    def tick(
        self, running: Sequence[Request], reading: Sequence[tuple[Request, int]]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
        """Logits [vocabulary] after the next token of each running request, and after each prompt that is now read.

        Of each prompt so many tokens are read at most; None where some are left.
        """

    def remove(self, request: Request) -> None:
        """Forget a request that ended."""

    def clear(self) -> None:
        """Forget everything, after a step that failed halfway."""


class Limit(Protocol):
    """How many requests fit."""

    def holds(self, lengths: Sequence[int]) -> bool:
        """Whether requests of so many tokens at the most fit side by side; a single one is always let in."""


class Scheduler:
    """One thread that runs the model for all requests; it starts with the first and ends when nothing is to be done.

    At most `slots` are answered at once, fewer where the memory for their keys and values is not enough, and `queue`
    more may wait, in the order they came.
    """

    def __init__(self, board: AnyBoard, memory: Limit, *, slots: int, queue: int) -> None:
        self.board, self.memory = board, memory
        self.slots, self.queue = slots, queue
        self.waiting: deque[Request] = deque()
        self.reading: deque[Request] = deque()
        self.running: list[Request] = []
        self.asides: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    @property
    def load(self) -> int:
        """Requests that are not finished."""
        return len(self.waiting) + len(self.reading) + len(self.running) + len(self.asides)

    @property
    def now(self) -> dict[str, int]:
        """How many requests are in which state."""
        return {
            "requests_running": len(self.running),
            "requests_reading": len(self.reading),
            "requests_waiting": len(self.waiting) + len(self.asides),
        }

    def add(self, *requests: Request) -> None:
        """Take requests on, all or none. Raises QueueFullError."""
        with self.changed:
            waiting = [request for request in self.waiting if not request.cancelled]
            if len(self.reading) + len(self.running) + len(waiting) + len(requests) > self.slots + self.queue:
                full = f"{self.slots} requests are being answered and {len(waiting)} wait"
                raise QueueFullError.one("ENGINE-FULL", full, fix="ask again in a moment")
            self.waiting.extend(requests)
            self._wake()

    def aside(self, work: Callable[[], Any]) -> Future[Any]:
        """Something to be done between two steps, one such thing at a time. Raises QueueFullError."""
        with self.changed:
            if len(self.asides) >= self.slots + self.queue:
                raise QueueFullError.one("ENGINE-FULL", f"{len(self.asides)} texts wait", fix="ask again in a moment")
            future: Future[Any] = Future()
            self.asides.append((work, future))
            self._wake()
        return future

    def _wake(self) -> None:
        """Called with the lock held."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, name="hone-engine")
            self.thread.start()
        self.changed.notify()

    def _work(self) -> None:
        while self._something():
            self._tick()
        give_back_memory_after(threading.current_thread())

    def _something(self) -> bool:
        """Wait for work; False when none came, or when the program ends.

        Torch must not be cut off in the middle, so the thread is no daemon: it looks whether the main thread lives.
        """
        with self.changed:
            for _ in range(round(LINGER / GLANCE)):
                if self.load or not threading.main_thread().is_alive():
                    break
                self.changed.wait(GLANCE)
            if self.load and threading.main_thread().is_alive():
                return True
            self.thread = None
            return False

    @torch.inference_mode()
    def _tick(self) -> None:
        """One more token for everybody, and pieces of the prompts that wait to be read."""
        self._drop_cancelled()
        try:
            self._admit()
            if self.running or self.reading:
                self._compute()
        except Exception as error:  # whatever the model raises must reach those who wait, and not end the thread
            self._fail(error)
        self._do_aside()

    def _do_aside(self) -> None:
        with self.changed:
            if not self.asides:
                return
            work, future = self.asides.popleft()
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    def _admit(self) -> None:
        """Those who waited longest get a place, as far as there are places and memory for what they may write."""
        while True:
            with self.changed:
                active = [*self.running, *self.reading]
                if not self.waiting or len(active) >= self.slots:
                    return
                if active and not self.memory.holds([one.most for one in (*active, self.waiting[0])]):
                    return
                request = self.waiting.popleft()
                self.reading.append(request)
            self.board.begin(request)

    def _compute(self) -> None:
        running, parts = list(self.running), self._parts()
        stepped, read = self.board.tick(running, parts)
        news = [(request, self._advance(request, logits)) for request, logits in zip(running, stepped, strict=True)]
        for (request, _), last in zip(parts, read, strict=True):
            if last is not None:
                self.reading.remove(request)
                self.running.append(request)
                news.append((request, self._advance(request, last)))
        try:
            self._leave([request for request in self.running if request.finish or request.failed or request.cancelled])
        finally:
            for request, told in news:  # last, so that whoever hears of the end finds the place free
                request.tell(told)

    def _parts(self) -> list[tuple[Request, int]]:
        """How many tokens of which prompts are read in this tick: one after the other, each once round."""
        left = PIECE if self.running else LONG_PIECE
        share = PIECE if len(self.reading) > 1 else left
        parts = []
        for request in list(self.reading):
            if left <= 0:
                break
            parts.append((request, request.part(min(left, share))))
            left -= parts[-1][1]
        self.reading.rotate(-len(parts))
        return parts

    def _advance(self, request: Request, logits: torch.Tensor) -> Piece | Exception:
        try:
            return request.take(logits)
        except Exception as error:  # one request's numbers are no reason to end the others
            request.failed = True
            return error

    def _drop_cancelled(self) -> None:
        self._leave([request for request in self.running if request.cancelled])
        for request in [request for request in self.reading if request.cancelled]:
            self.reading.remove(request)
            self.board.remove(request)
        with self.changed:
            self.waiting = deque(request for request in self.waiting if not request.cancelled)

    def _leave(self, requests: list[Request]) -> None:
        for request in requests:
            self.running.remove(request)
            self.board.remove(request)

    def _fail(self, error: Exception) -> None:
        """Tell everybody who was being answered; those who wait are tried afresh."""
        failed = [*self.running, *self.reading]
        self.running, self.reading = [], deque()
        self.board.clear()
        for request in failed:
            request.tell(error)
