"""Who asks little is heard while others are read, fetched for, or answered at length: what takes long is done in other
threads than the one that hears everybody."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

KEY = "sesame-opens-this"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


def post(url: str, path: str, body: Any) -> tuple[int, Any]:
    line = HTTPConnection(url.removeprefix("http://"), timeout=60)
    line.request("POST", path, json.dumps(body), HEADERS)
    answer = line.getresponse()
    found = answer.status, json.loads(answer.read())
    line.close()
    return found


def chat(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 60, "logit_bias": {"2": -100}}


def told(url: str, path: str) -> int:
    line = HTTPConnection(url.removeprefix("http://"), timeout=30)
    line.request("GET", path, headers=HEADERS)
    status = line.getresponse().status
    line.close()
    return status


HEARING = "Guard.__call__"
"""It is called where everybody is heard."""
LONG: dict[str, tuple[str, Any, int, set[str]]] = {
    "an answer": (
        "/v1/chat/completions", chat("Is it?") | {"max_tokens": 30}, 200,
        {"Encoder.prompt", "Decoder.__call__", "Sampler.__call__", "Detokenizer._decode"},
    ),
    "a long text": (
        "/v1/chat/completions", chat("geese watch the quick " * 5_000), 400,
        {"read_json", "Encoder.prompt"},
    ),
    "many messages": (
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}] * 3_000}, 400,
        {"read_json", "read_conversation", "Encoder.prompt"},
    ),
    "a text to be cut into tokens": (
        "/tokenize", {"prompt": "geese " * 20_000}, 200,
        {"read_json", "Service._ids_of"},
    ),
    "texts to be embedded": (
        "/v1/embeddings", {"input": ["geese " * 500] * 30}, 200,
        {"read_json", "Service._ids_of", "embedding"},
    ),
}  # fmt: skip


@pytest.fixture
def threads_of(served: Any, serve: Callable[[Any], Any]) -> Iterator[tuple[str, dict[str, set[int]]]]:
    """A server whose every thread writes down which functions of Hone it calls: its address, and the threads of each
    function by its qualified name."""
    from hone.engines.base import Settings
    from hone.server.app import make_app
    from hone.server.guard import Door
    from hone.server.service import Service

    found: dict[str, set[int]] = {}

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and "/hone/" in frame.f_code.co_filename:
            found.setdefault(frame.f_code.co_qualname, set()).add(threading.get_ident())

    while served.engine.scheduler.thread is not None:  # an idle one lingers, and writes nothing down
        time.sleep(0.05)
    usual = Settings(max_new_tokens=8, do_sample=False, stop_ids=served.service.encoder.stop_ids)
    threading.setprofile(note)
    try:
        with serve(make_app(Service(served.service.session, usual, "tiny"), Door(KEY))) as url:
            yield url, found
    finally:
        threading.setprofile(sys.getprofile())


@pytest.mark.parametrize("name", LONG)
def test_what_takes_long_is_done_elsewhere_than_where_everybody_is_heard(
    threads_of: tuple[str, dict[str, set[int]]], name: str
) -> None:
    url, found = threads_of
    path, body, status, works = LONG[name]
    assert post(url, path, body)[0] == status
    assert len(found[HEARING]) == 1
    assert {work: found[work] & found[HEARING] for work in works} == {work: set() for work in works}


class Silent(BaseHTTPRequestHandler):
    """A host that takes a request and says nothing until it is let go."""

    asked, go = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        self.asked.set()
        self.go.wait(30)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def silent() -> Iterator[str]:
    host = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{host.server_port}"
    Silent.go.set()
    host.shutdown()
    host.server_close()
    thread.join()


def test_others_are_heard_and_answered_while_a_host_of_pictures_is_silent(
    seeing_session: Any, serve: Callable[[Any], Any], silent: str
) -> None:
    from hone.engines.base import Settings
    from hone.server.app import make_app
    from hone.server.fetching import Hosts
    from hone.server.guard import Door
    from hone.server.service import Service
    from hone.server.sources import Sources

    usual = Settings(max_new_tokens=2, do_sample=False, stop_ids=seeing_session.encoder.stop_ids)
    service = Service(seeing_session, replace(usual), "tiny", sources=Sources(hosts=Hosts.of(f"{silent},127.0.0.1")))
    shown = {"type": "image_url", "image_url": {"url": f"http://{silent}/a.png"}}
    with serve(make_app(service, Door(KEY))) as url, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(post, url, "/v1/chat/completions", {"messages": [{"role": "user", "content": [shown]}]})
        assert Silent.asked.wait(30)
        assert [told(url, path) for path in ("/health", "/v1/models")] == [200, 200]
        assert post(url, "/v1/chat/completions", chat("Is it?") | {"max_tokens": 2})[0] == 200
        assert not asked.done()
        Silent.go.set()
        assert asked.result()[0] == 400
