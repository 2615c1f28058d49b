"""Who may speak to the server: the key, the Host and Origin headers; and one line in the log for each request."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from starlette.responses import JSONResponse

from hone.log import say
from hone.server.refusal import RefusedError
from hone.server.tally import Tally

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = frozenset({"/health", "/health/live", "/health/ready"})


@dataclass(frozen=True)
class Door:
    """`hosts`: the names that the Host header may hold, empty for any; `origins`: pages of other hosts that may ask;
    `open`: the paths that need no key."""

    key: str | None = None
    hosts: tuple[str, ...] = LOOPBACK
    origins: tuple[str, ...] = ()
    open: frozenset[str] = OPEN

    def check(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises RefusedError."""
        listed = [(name.lower(), value.decode("latin-1")) for name, value in headers]
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in listed}:  # two ways to say where it ends
            raise RefusedError("a request has a length or comes in chunks, not both", code="bad_framing")
        hosts = [value for name, value in listed if name == b"host"]
        if len(hosts) != 1 or (self.hosts and _name(hosts[0]) not in self.hosts):
            raise RefusedError("this Host is not served here", status=403, code="host_not_allowed")
        for name, value in listed:
            if name == b"origin" and value not in self.origins and value.partition("://")[2] != hosts[0]:
                raise RefusedError("pages of this Origin may not ask here", status=403, code="origin_not_allowed")
        if self.key is not None and path not in self.open:
            self._check_key([value for name, value in listed if name == b"authorization"], self.key)

    def _check_key(self, given: list[str], key: str) -> None:
        kind, _, word = (given[0] if len(given) == 1 else "").partition(" ")
        same = hmac.compare_digest(sha256(word.encode("latin-1")).digest(), sha256(key.encode()).digest())
        if not (same and kind.lower() == "bearer"):
            raise RefusedError("a valid key is needed: Authorization: Bearer …", status=401, code="invalid_api_key")


class Guard:
    """Stands before the whole application."""

    def __init__(self, app: Any, door: Door, tally: Tally) -> None:
        self.app, self.door, self.tally = app, door, tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: refused, or handed on; its method, path, status and time are written down, nothing else."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def sent(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            self.door.check(scope["path"], scope["headers"])
        except RefusedError as refused:
            answer = JSONResponse(refused.body, refused.status, {**refused.headers, "Connection": "close"})
            await answer(scope, receive, sent)
        else:
            await self.app(scope, receive, sent)
        finally:
            took = time.monotonic() - began
            self.tally.request(scope["method"], scope["path"], status, took)
            say(f"{scope['method'][:16]} {ascii(scope['path'][:200])[1:-1]} {status or 'left'} {took * 1000:.0f} ms")


def _name(host: str) -> str:
    """The host without its port, lower case, without the brackets of an IPv6 address."""
    bare = host.rsplit(":", 1)[0] if host.count(":") == 1 or "]:" in host else host
    return bare.strip("[]").lower().rstrip(".")
