"""Where `hone webchat` listens, and that its files are served under the strict policy and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from hone.cli.webchat import place_of
from hone.web.pages import Pages


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [
        ({}, "127.0.0.1", 7860),
        ({"GRADIO_SERVER_PORT": "7900"}, "127.0.0.1", 7900),
        ({"API_PORT": "8100"}, "127.0.0.1", 8100),
        ({"GRADIO_SERVER_NAME": "0.0.0.0", "API_HOST": "127.0.0.1"}, "0.0.0.0", 7860),
    ],
)
def test_gradios_variables_go_before_the_apis(given: dict[str, str], host: str, port: int) -> None:
    place = place_of(given)
    assert (place.host, place.port) == (host, port)
    assert place.key_is_new is (host == "0.0.0.0")


@pytest.fixture
def client() -> Any:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()
    Pages("chat").mount(app)
    return TestClient(app)


def test_every_file_has_its_type_and_the_policy(client: Any) -> None:
    for address in Pages("chat").addresses:
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert client.get("/").headers["content-type"].startswith("text/html")
    assert client.get("/web/chat/%2e%2e/pages.py").status_code == 404


def test_both_languages_say_the_same_things(client: Any) -> None:
    tables = {
        code: client.get(f"/web/chat/words/{code}.json").json() for code in client.get("/web/languages.json").json()
    }
    assert {"en", "zh"} <= tables.keys()
    for table in tables.values():
        assert table.keys() == tables["en"].keys() and all(table.values())
