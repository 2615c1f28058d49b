"""How much is listened to: bodies are refused while they come, and whoever waits to be asked on is not waited for."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from hone.server import app as application

KEY = "sesame-opens-this"


def begun(served: Any, *headers: str) -> socket.socket:
    """A line on which the head of a request was said."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    line = socket.create_connection((host, int(port)), timeout=30)
    usual = (f"Host: {host}", f"Authorization: Bearer {KEY}", "Content-Type: application/json")
    line.sendall("\r\n".join(["POST /v1/completions HTTP/1.1", *usual, *headers, "", ""]).encode())
    return line


def memory() -> int:
    """Bytes that this process, which is also the server, holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_body_without_a_length_is_refused_while_it_comes(served: Any) -> None:
    before, peak, part = memory(), 0, b"100000\r\n" + b"0" * 2**20 + b"\r\n"
    with begun(served, "Transfer-Encoding: chunked") as line:
        for _ in range(100):
            line.sendall(part)
            peak = max(peak, memory())
        assert line.recv(1000).startswith(b"HTTP/1.1 413 ")
    assert peak - before < 100 * 2**20


def test_a_length_that_is_too_large_is_refused_before_the_body(served: Any) -> None:
    with begun(served, f"Content-Length: {application.LARGEST + 1}", "Expect: 100-continue") as line:
        assert line.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_who_waits_to_be_asked_on_and_then_says_nothing_is_sent_away(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert application.ASKED_ON <= 5
    monkeypatch.setattr(application, "ASKED_ON", 0.2)
    with begun(served, "Content-Length: 10", "Expect: 100-continue") as line:
        began, heard = time.monotonic(), b""
        while part := line.recv(1000):
            heard += part
    assert heard.startswith(b"HTTP/1.1 100 ") and b"HTTP/1.1 408 " in heard
    assert time.monotonic() - began < 5


def test_who_leaves_in_the_middle_of_a_body_is_one_line_in_the_log(
    served: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with begun(served, "Content-Length: 100") as line:
        line.sendall(b'{"prompt":')
    heard, end = "", time.monotonic() + 10
    while "POST" not in heard and time.monotonic() < end:
        heard += "".join(capfd.readouterr())
        time.sleep(0.01)
    assert heard.startswith("POST /v1/completions 499 ") and heard.count("\n") == 1
