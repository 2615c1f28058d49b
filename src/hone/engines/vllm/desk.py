"""Who is being answered: so many at once, so many more that may wait, counted as the metrics want it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hone.engines.base import QueueFullError
from hone.engines.vllm.answer import Answer


class Desk:
    """vLLM itself decides who is computed when; here is only counted what was taken on and has not ended."""

    def __init__(self, *, slots: int, queue: int) -> None:
        self.slots, self.queue = slots, queue
        self.open: dict[Answer, None] = {}
        self.changing = threading.Lock()

    @property
    def load(self) -> int:
        """Requests that are not finished."""
        return len(self.open)

    @property
    def now(self) -> dict[str, int]:
        """How many requests are in which state; those without a first token take the places that are left."""
        with self.changing:
            running = sum(answer.begun for answer in self.open)
            others = len(self.open) - running
        reading = min(others, max(self.slots - running, 0))
        return {"requests_running": running, "requests_reading": reading, "requests_waiting": others - reading}

    def add(self, answers: Sequence[Answer]) -> None:
        """Take them on, all or none. Raises QueueFullError."""
        with self.changing:
            if len(self.open) + len(answers) > self.slots + self.queue:
                full = f"{len(self.open)} requests are being answered or wait"
                raise QueueFullError.one("ENGINE-FULL", full, fix="ask again in a moment")
            self.open.update(dict.fromkeys(answers))

    def leave(self, answer: Answer) -> None:
        """It ended, one way or another."""
        with self.changing:
            self.open.pop(answer, None)
