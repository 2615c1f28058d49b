"""`hone api`: where it listens, whom it asks for a key, and that it ends in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from hone.errors import RecipeError
from hone.server.main import Place


def test_it_listens_to_this_machine_alone_unless_told_otherwise() -> None:
    place = Place.of({})
    assert (place.host, place.port, place.key, place.name) == ("127.0.0.1", 8000, None, "gpt-3.5-turbo")
    assert "localhost" in place.hosts


def test_another_interface_demands_a_key_and_one_is_made() -> None:
    open_place = Place.of({"API_HOST": "0.0.0.0"})
    assert open_place.key_is_new and open_place.key and len(open_place.key) >= 24
    assert Place.of({"API_HOST": "0.0.0.0", "API_KEY": "own"}).key == "own"
    assert not Place.of({"API_HOST": "0.0.0.0", "API_KEY": "own"}).key_is_new


@pytest.mark.parametrize("named", [{"API_PORT": "http"}, {"API_PORT": "70000"}, {"MAX_CONCURRENT": "0"}])
def test_numbers_that_are_none_are_refused(named: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match=next(iter(named))):
        Place.of(named)


def test_the_verb_serves_and_ends_with_the_signal(tiny_model: Callable[[str], Path]) -> None:
    from openai import APIConnectionError, InternalServerError, OpenAI

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "hone", "api", "--model_name_or_path", str(tiny_model("llama"))]
    named = {"API_PORT": str(port), "API_MODEL_NAME": "mine", "FASTAPI_ROOT_PATH": "/behind", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **named}
    environment.pop("API_KEY", None)
    server = subprocess.Popen([*words, "--template", "chatml"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="0", max_retries=0)
        deadline = time.monotonic() + 60
        while True:
            try:
                assert [model.id for model in client.models.list()] == ["mine"]
                break
            except (APIConnectionError, InternalServerError):  # not there yet; there, and the model is being loaded
                assert server.poll() is None and time.monotonic() < deadline, server.stderr
                time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=10) as page:
            assert json.load(page)["servers"] == [{"url": "/behind"}]  # where the routes are for those outside
        messages = [{"role": "user", "content": "Who are you?"}]
        stream = client.chat.completions.create(model="any", messages=messages, max_tokens=300, stream=True)  # type: ignore[call-overload]
        next(iter(stream))
        server.send_signal(signal.SIGTERM)
        assert [chunk.choices[0].finish_reason for chunk in stream][-1] in ("length", "stop")
        assert server.wait(20) in (-signal.SIGTERM, 143)  # what a shell calls 143 either way, never 0
    finally:
        server.kill()
        server.communicate()
