"""Pieces from the engine's thread, brought to the event loop; whoever leaves cancels what is still being computed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from hone.engines.base import Piece, Settings
from hone.server.tally import Tally

LOOK = 0.25
"""Seconds between looks at whether the client is still there."""


class Arrivals:
    """The answers to one prompt. Asking happens at once, so that a refusal comes before the first byte."""

    def __init__(
        self, engine: Any, prompt: Sequence[int], settings: Sequence[Settings], tally: Tally, seen: Any = None
    ) -> None:
        self.tally = tally
        self.began, self.first, self.written = time.monotonic(), 0.0, 0
        self.loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[tuple[int, Piece | Exception]] = asyncio.Queue()
        self.left = len(settings)
        receivers = [self._receiver(place) for place in range(self.left)]
        self.tickets = engine.submit_all(prompt, settings, receivers, seen)
        tally.prompt_tokens += len(prompt)

    def _receiver(self, place: int) -> Callable[[Piece | Exception], None]:
        def take(news: Piece | Exception) -> None:
            self.loop.call_soon_threadsafe(self.queue.put_nowait, (place, news))

        return take

    async def __aiter__(self) -> AsyncIterator[tuple[int, Piece]]:
        """(which answer, its next piece) until all have ended. Raises what the engine raised."""
        try:
            while self.left:
                place, news = await self.queue.get()
                if isinstance(news, Exception):
                    raise news
                self.left -= news.finish is not None
                self._count(news)
                yield place, news
        finally:
            self.cancel()

    def _count(self, news: Piece) -> None:
        self.tally.answer_tokens += len(news.ids)
        if not self.first:
            self.first = time.monotonic()
            self.tally.first.add(self.first - self.began)
        self.written += len(news.ids)
        if not self.left and self.written > 1:
            self.tally.between.add((time.monotonic() - self.first) / (self.written - 1))

    def fail(self, error: Exception) -> None:
        """Whoever waits for the next piece is given this instead."""
        self.queue.put_nowait((0, error))

    def cancel(self) -> None:
        """Nobody listens any more."""
        for ticket in self.tickets:
            ticket.cancel()


async def until_gone(gone: Callable[[], Awaitable[bool]], work: Awaitable[Any]) -> Any:
    """The result of the work, or None when the client left before; the work is then cancelled."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=LOOK))[0]:
            if await gone():
                return None
        return task.result()
    finally:
        task.cancel()
