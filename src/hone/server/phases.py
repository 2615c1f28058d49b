"""The life of a server: it hears before the model is loaded, says so until then, and lets answers end when it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from starlette.responses import JSONResponse

from hone.server.heads import Protocol
from hone.server.refusal import RefusedError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DRAIN = 10
"""Seconds that answers under way have to finish when the server is told to stop."""
HEARING = 15.0
"""Seconds that the head of a request may take to arrive, and a small body."""
LATE = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Entrance:
    """Stands before everything: until `app` is set, and once `closing` is, whoever asks is told to come again (503).

    `/health/live` is always answered: the process is there. All else waits for the model.
    """

    def __init__(self) -> None:
        self.app: Any = None
        self.closing = False
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if self.app is not None and not self.closing:
            self.running += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.running -= 1
        elif (scope["method"], scope["path"]) == ("GET", "/health/live"):
            await JSONResponse({"status": "ok"})(scope, receive, send)
        else:
            what = "the server is being stopped" if self.closing else "the model is still being loaded"
            refused = RefusedError(what, status=503, code="closing" if self.closing else "loading")
            answer = JSONResponse(refused.body, refused.status, {**refused.headers, "Connection": "close"})
            await answer(scope, receive, send)


class Server(uvicorn.Server):
    """Loads beside hearing; closes connections whose request does not arrive; told to stop, takes nothing new, lets
    what runs end, and after `drain` seconds calls `cut`, so that open streams end in order too."""

    def __init__(
        self, entrance: Entrance, load: Callable[[], None], *, drain: float = DRAIN, hearing: float = HEARING
    ) -> None:
        """`load` sets the entrance's `app`."""
        config = uvicorn.Config(
            entrance,
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
            server_header=False,
            ws="none",
            http=Protocol,
        )
        super().__init__(config)
        self.entrance, self.load = entrance, load
        self.drain, self.hearing = drain, hearing
        self.cut: Callable[[], None] = lambda: None
        self.failed: BaseException | None = None
        self.end: float | None = None
        self.silent: dict[Any, float] = {}

    def start_loading(self) -> None:
        """In a thread of its own; a failure ends the server, and `failed` says which."""
        threading.Thread(target=self._load, name="loading", daemon=True).start()

    def _load(self) -> None:
        try:
            self.load()
        except BaseException as error:
            self.failed = error
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second. Returns whether it is over."""
        over = await super().on_tick(counter)
        self._close_silent()
        if not over:
            return False
        self.entrance.closing = True
        now = time.monotonic()
        self.end = self.end or now + self.drain
        if not self.entrance.running or self.force_exit:
            return True
        if now < self.end:
            return False
        self.cut()
        return now >= self.end + 1  # the last words of cut streams go out

    def _close_silent(self) -> None:
        """Whoever holds a connection and has not said all of a request's head in time."""
        now = time.monotonic()
        waiting = [one for one in self.server_state.connections if _waits(one)]
        self.silent = {one: self.silent.get(one, now) for one in waiting}
        for one, since in self.silent.items():
            if now - since > self.hearing and one.transport is not None and not one.transport.is_closing():
                one.transport.write(LATE)
                one.transport.close()


def _waits(connection: Any) -> bool:
    """Whether no request of it is being answered."""
    cycle = getattr(connection, "cycle", None)
    return cycle is None or cycle.response_complete
