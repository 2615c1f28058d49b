"""A server from its first moment to its last: while it loads, when nobody says anything, and when it is stopped."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, StreamingResponse

from hone.server import app as application
from hone.server.main import Place, _listen
from hone.server.phases import Entrance, Server

KEY = "sesame-opens-this"


@contextmanager
def running(server: Server) -> Iterator[tuple[str, int]]:
    """It hears on a free port, in a thread; afterwards it has ended."""
    listening = _listen(Place(port=0))
    address = listening.getsockname()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    server.start_loading()
    thread.start()
    try:
        until(lambda: server.started)
        yield address
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)


def asked(address: tuple[str, int], path: str, **body: Any) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of one request."""
    line = HTTPConnection(*address, timeout=60)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    line.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
    answer = line.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    line.close()
    return found


def server_of(app: Any, **limits: float) -> Server:
    entrance = Entrance()
    return Server(entrance, lambda: setattr(entrance, "app", app), **limits)


def test_while_the_model_is_loaded_it_lives_and_is_not_ready() -> None:
    entrance, loaded = Entrance(), threading.Event()

    def load() -> None:
        assert loaded.wait(60)
        entrance.app = PlainTextResponse("here")

    with running(Server(entrance, load)) as address:
        assert asked(address, "/health/live")[0] == 200
        for path, body in (("/health/ready", {}), ("/health", {}), ("/v1/chat/completions", {"messages": []})):
            status, headers, text = asked(address, path, **body)
            assert (status, headers["retry-after"]) == (503, "5")
            assert "being loaded" in text
        loaded.set()
        until(lambda: asked(address, "/health/ready")[0] == 200)


def test_a_model_that_cannot_be_loaded_ends_the_server_with_its_reason() -> None:
    def load() -> None:
        raise ValueError("no such model")

    server = Server(Entrance(), load)
    with running(server):
        until(lambda: server.failed is not None)
    assert str(server.failed) == "no such model"


def test_who_does_not_finish_the_head_of_a_request_is_sent_away_and_others_are_served() -> None:
    with running(server_of(PlainTextResponse("here"), hearing=0.3)) as address:
        slow = [socket.create_connection(address) for _ in range(20)]
        for one in slow[1:]:
            one.sendall(b"GET /health HTTP/1.1\r\nHo")
        assert asked(address, "/health")[2] == "here"
        for one in slow:
            one.settimeout(60)
            answer = one.recv(1000)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert one.recv(1) == b""
            one.close()
        assert asked(address, "/health")[2] == "here"


def test_a_body_that_does_not_arrive_is_told_so(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "HEARING", 0.2)
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(
            f"POST /tokenize HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
            'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"prompt":'.encode()
        )
        answer = line.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


def test_told_to_stop_it_ends_what_runs_and_takes_nothing_new() -> None:
    written, end = threading.Event(), threading.Event()

    async def words() -> Any:
        yield "first "
        written.set()
        while not end.is_set():
            await asyncio.sleep(0.01)
        yield "last"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(words())(scope, receive, send)

    server = server_of(app, drain=60)
    with running(server) as address:
        heard: list[str] = []
        client = threading.Thread(target=lambda: heard.append(asked(address, "/stream")[2]))
        client.start()
        assert written.wait(60)
        server.should_exit = True
        until(lambda: server.entrance.closing)
        status, headers, text = asked(address, "/more")
        assert (status, headers["retry-after"]) == (503, "5")
        assert "being stopped" in text
        assert asked(address, "/health/ready")[0] == 503
        assert asked(address, "/health/live")[0] == 200
        end.set()
        client.join(60)
    assert heard == ["first last"]


def test_a_stream_that_is_cut_at_the_end_says_so(served: Any) -> None:
    server = server_of(served.app, drain=0)
    server.cut = served.service.cut
    with running(server) as address:
        line = HTTPConnection(*address, timeout=60)
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 1900, "temperature": 0}
        body["logit_bias"] = {"2": -100}
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        line.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = line.getresponse()
        assert b"assistant" in answer.readline()
        server.should_exit = True
        events = [one for one in answer.read().decode().split("\n") if one]
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "closing"


def test_answers_on_a_kept_connection_do_not_wait_for_each_other() -> None:
    """A head and a body written one after the other would otherwise wait 40 ms for a word from the client."""
    server = server_of(PlainTextResponse("here"))
    with running(server) as address:
        line = HTTPConnection(*address, timeout=60)
        line.request("GET", "/")
        assert line.getresponse().read() == b"here"
        (connection,) = server.server_state.connections
        accepted: Any = connection
        found = accepted.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        line.close()
    assert found
