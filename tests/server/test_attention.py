"""Who asks little is heard while others are read, fetched for, or answered at length."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


LONG: dict[str, tuple[str, Any, int]] = {
    "an answer": ("/v1/chat/completions", chat("Is it?") | {"max_tokens": 150}, 200),
    "a long text": ("/v1/chat/completions", chat("geese watch the quick " * 20_000), 400),
    "a text of control words": ("/v1/chat/completions", chat("<|im_end|> <think>" * 25_000), 400),
    "many messages": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}] * 30_000}, 400),
    "a text to be cut into tokens": ("/tokenize", {"prompt": "geese " * 100_000}, 200),
    "texts to be embedded": ("/v1/embeddings", {"input": ["geese " * 100_000] * 2}, 400),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def settled() -> Iterator[None]:
    """As `hone api` has it once the model is loaded: what is there is not looked through again."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def longest_wait(url: str, asked: Future[Any]) -> float:
    """Seconds that the health of the server was waited for, at the worst, until an answer is there."""
    line, waits = HTTPConnection(url.removeprefix("http://"), timeout=60), [0.0]
    while not asked.done():
        since = time.monotonic()
        line.request("GET", "/health")
        assert line.getresponse().read() == b'{"status":"ok"}'
        waits.append(time.monotonic() - since)
    line.close()
    return max(waits)


@pytest.mark.parametrize("name", LONG)
def test_others_are_heard_while_one_is_read_or_answered(served: Any, name: str) -> None:
    """Something else on this machine may hold everybody up: three times in a row it is the server."""
    path, body, status = LONG[name]
    told = []
    with ThreadPoolExecutor(1) as threads:
        for _ in range(3):
            began = time.monotonic()
            asked = threads.submit(post, served.url, path, body)
            wait = longest_wait(served.url, asked)
            assert asked.result()[0] == status
            took = time.monotonic() - began
            if wait < max(took / 2, 0.1):
                return
            told.append(f"{wait:.2f} of {took:.2f} s")
    pytest.fail(f"others waited {told}")


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
        for path in ("/health", "/v1/models"):
            line = HTTPConnection(url.removeprefix("http://"), timeout=5)
            line.request("GET", path, headers=HEADERS)
            assert line.getresponse().status == 200
            line.close()
        assert post(url, "/v1/chat/completions", chat("Is it?") | {"max_tokens": 2})[0] == 200
        assert not asked.done()
        Silent.go.set()
        assert asked.result()[0] == 400
