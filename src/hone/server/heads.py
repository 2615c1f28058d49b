"""Heads of requests as they come over the wire: of bounded size, and nothing that can be read in two ways."""

from __future__ import annotations

import json
import re
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hone.server.refusal import RefusedError

LARGEST = 16 * 2**10
"""Bytes of a head at most: the line of the request and its headers."""
BLANK = re.compile(rb"\n\r?\n")
AMBIGUOUS = re.compile(rb"(?<!\r)\n|\n[ \t]")
"""A line that ends with LF alone, and one that goes on the line before."""
WORDS = {
    400: "this is no request of HTTP/1.1",
    431: f"the head of the request is larger than {LARGEST} bytes",
}
REASONS = {400: "Bad Request", 431: "Request Header Fields Too Large"}


class Connection(h11.Connection):
    """One side of a conversation; `status` says how to refuse what could not be read."""

    status = 400

    def next_event(self) -> Any:
        """As h11 has it. Raises RemoteProtocolError for a head that is too large or ambiguous."""
        if self.their_state is h11.IDLE:
            self._check(self.trailing_data[0])
        return super().next_event()

    def _check(self, heard: bytes) -> None:
        end = BLANK.search(heard)
        head = heard[: end.end()] if end else heard
        if len(head) > LARGEST:
            self.status = 431
            raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
        if AMBIGUOUS.search(head):
            raise h11.RemoteProtocolError("the head is ambiguous")


class Protocol(H11Protocol):
    """uvicorn's own with such a connection; refusals are told as everywhere else."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn: Connection = Connection(h11.SERVER)

    def send_400_response(self, msg: str) -> None:
        """What could not be read is told, unless an answer is under way, and nothing that follows is listened to."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        status = self.conn.status
        told = json.dumps(RefusedError(WORDS[status], status=status).body).encode()
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.transport.write(f"{head}Content-Length: {len(told)}\r\n\r\n".encode() + told)
        self.transport.close()
