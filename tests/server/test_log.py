"""The log: one short line for a request, whatever is in it, and nothing of what was said."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

import pytest

KEY = "sesame-opens-this"
SAID = "what nobody else should read"


def send(served: Any, line: str, body: dict[str, Any] | None = None, key: str = KEY) -> None:
    host, _, port = served.url.removeprefix("http://").partition(":")
    content = json.dumps(body or {})
    head = f"{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    with (
        contextlib.suppress(OSError),  # refused and closed while we were still speaking
        socket.create_connection((host, int(port)), timeout=30) as connection,
    ):
        connection.sendall(f"{head}{content}".encode())
        while connection.recv(65536):
            pass


REQUESTS: dict[str, tuple[str, Any]] = {
    "line breaks and colours in a path": ("GET /v1/%0aPOST%20/fake%20200%0d%0a%1b[31m%7f%c2%9b2J%e2%80%a8x", None),
    "directives in a path": ("GET /v1/%25s%25d{0}{method}%n", None),
    "a long path": ("GET /v1/" + "x" * 12_000, None),
    "a long method": ("X" * 12_000 + " /v1/models", None),
    "words in the query": (f"GET /v1/models?api_key={SAID.replace(' ', '+')}", None),
    "a million letters for a model's name": (
        "POST /v1/chat/completions",
        {"model": "m" * 2**20, "messages": [{"role": "user", "content": SAID}]},
    ),
    "line breaks in a model's name": (
        "POST /v1/chat/completions",
        {"model": "m\nfake\x1b[31m", "messages": [{"role": "user", "content": SAID}], "max_tokens": 1},
    ),
    "an unknown name": ("POST /v1/completions", {"prompt": SAID, "\n\x1b[31m%s": SAID}),
    "a picture": (
        "POST /v1/chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:," + SAID}}]}]},
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_one_short_line(served: Any, capfd: pytest.CaptureFixture[str], name: str) -> None:
    capfd.readouterr()
    send(served, *REQUESTS[name], key=KEY)
    send(served, *REQUESTS[name], key=f"{SAID}-and-no-key")
    told, end = "", time.monotonic() + 10
    while told.count(" ms\n") < 2 and time.monotonic() < end:
        told += "".join(capfd.readouterr())
        time.sleep(0.005)
    lines = told.splitlines(keepends=True)
    assert len(lines) == 2 and all(line.endswith(" ms\n") for line in lines)
    assert all(len(line) <= 2048 and line.strip().isprintable() and line.isascii() for line in lines)
    assert " 401 " in lines[1]
    assert KEY not in told and not any(word in told for word in (SAID, SAID.replace(" ", "+"), "nobody"))
