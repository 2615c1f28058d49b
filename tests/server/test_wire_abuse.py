"""Requests that are not quite HTTP, or mean to be two: refused, closed, and never taken for a second one."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import pytest

KEY = b"Authorization: Bearer sesame-opens-this\r\n"
HOST = b"Host: 127.0.0.1\r\n"
CANARY = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + KEY + b"Content-Type: application/json\r\n"
LIST = b"GET /v1/models HTTP/1.1\r\n"


def spoken(served: Any, raw: bytes) -> list[int]:
    """The statuses of all answers until the server closes or falls silent."""
    address, _, port = served.url.removeprefix("http://").partition(":")
    heard = b""
    with (
        contextlib.suppress(OSError),  # closed while we were still speaking
        socket.create_connection((address, int(port)), timeout=20) as line,
    ):
        line.sendall(raw)
        line.shutdown(socket.SHUT_WR)
        while part := line.recv(65536):
            heard += part
    starts = [line for line in heard.split(b"\r\n") if b"HTTP/1.1 " in line]
    return [int(line.split(b"HTTP/1.1 ")[1][:3]) for line in starts]


@pytest.mark.parametrize(
    ("name", "raw", "statuses"),
    [
        ("no Host", LIST + KEY + b"\r\n", {400, 403}),
        ("two Hosts", LIST + HOST + HOST + KEY + b"\r\n", {400, 403}),
        ("another Host", LIST + b"Host: evil.com\r\n" + KEY + b"\r\n", {403}),
        (
            "another machine's address",
            b"GET http://evil.com/v1/models HTTP/1.1\r\n" + HOST + KEY + b"\r\n",
            {400, 403, 404},
        ),
        ("two keys", LIST + HOST + KEY + KEY + b"\r\n", {401}),
        ("the key in the address", b"GET /v1/models?api_key=sesame-opens-this HTTP/1.1\r\n" + HOST + b"\r\n", {401}),
        ("a very long key", LIST + HOST + b"Authorization: Bearer " + b"x" * 2**20 + b"\r\n\r\n", {431}),
        ("a NUL in the key", LIST + HOST + KEY.replace(b"\r", b"\0\r") + b"\r\n" + CANARY, {400}),
        ("a head that is too long", LIST + HOST + KEY + b"X: " + b"x" * 2**14 + b"\r\n\r\n" + CANARY, {431}),
        ("the same without an end", LIST + HOST + KEY + b"X: " + b"x" * 2**14, {431}),
        (
            "length and chunks",
            CHAT + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + CANARY,
            {400},
        ),
        ("two lengths", CHAT + b"Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}" + CANARY, {400}),
        ("an unknown coding", CHAT + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + CANARY, {400, 501}),
        ("a length below zero", CHAT + b"Content-Length: -1\r\n\r\n{}" + CANARY, {400}),
        ("a NUL in a header", LIST + HOST + b"X: a\0b\r\n\r\n" + CANARY, {400}),
        ("a header that goes on", LIST + HOST + KEY + b"X: a\r\n b\r\n\r\n" + CANARY, {400}),
        ("a line that ends with LF", LIST + HOST + KEY + b"X: a\nY: b\r\n\r\n" + CANARY, {400}),
        ("a head that ends with LF", LIST + HOST + KEY + b"\n" + CANARY, {400}),
        ("a broken chunk", CHAT + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nz\r\n\r\n" + CANARY, {400}),
        ("no version", b"GET /health\r\n\r\n" + CANARY, {400}),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n" + CANARY, {400}),
        ("an upgrade", LIST + HOST + KEY + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", {200, 400, 426}),
        ("two slashes", b"GET //v1/models HTTP/1.1\r\n" + HOST + KEY + b"\r\n", {404}),
        ("a step up", b"GET /v1/../admin HTTP/1.1\r\n" + HOST + KEY + b"\r\n", {404}),
        ("a written step up", b"GET /%2e%2e/etc/passwd HTTP/1.1\r\n" + HOST + KEY + b"\r\n", {404}),
        ("a step up without key", b"GET /health/../v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {401, 404}),
        ("capitals", b"GET /V1/models/ HTTP/1.1\r\n" + HOST + KEY + b"\r\n", {404}),
        ("capitals without key", b"GET /V1/models/ HTTP/1.1\r\n" + HOST + b"\r\n", {401}),
        ("HEAD", b"HEAD /v1/models HTTP/1.1\r\n" + HOST + KEY + b"\r\n", {405}),
        ("HEAD without key", b"HEAD /v1/models HTTP/1.1\r\n" + HOST + b"\r\n", {401}),
        ("TRACE", b"TRACE /v1/models HTTP/1.1\r\n" + HOST + KEY + b"\r\n", {405}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_quite_a_request_is_refused_once(served: Any, name: str, raw: bytes, statuses: set[int]) -> None:
    began = time.monotonic()
    found = spoken(served, raw)
    assert time.monotonic() - began < 5, f"{name}: it was kept waiting"
    assert len(found) <= 1, f"{name}: answered {found}"
    assert set(found) <= statuses, f"{name}: answered {found}"
    assert spoken(served, CANARY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) == [200]
