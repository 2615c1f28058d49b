"""The chat page on a real server with a tiny model, seen by Debian's Chromium without a window."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

KEY = "sesame-opens-this"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@dataclass(frozen=True)
class Served:
    """Where the page is, and the engine behind it."""

    url: str
    engine: Any


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; without one these tests are skipped."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium here (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here (pip install playwright)")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def served(browser: Any, tiny_model: Callable[[str], Path], serve: Callable[[Any], Any]) -> Iterator[Served]:
    """The server with its key and its page."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hone.dialogue.encoder import Encoder
    from hone.dialogue.template import load_template
    from hone.engines.base import Settings
    from hone.engines.session import Session
    from hone.engines.torch import TorchEngine
    from hone.server.app import make_app
    from hone.server.guard import Door
    from hone.server.service import Service
    from hone.web.pages import Pages

    folder = tiny_model("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, max_position_embeddings=8192)
    engine = TorchEngine(model, tokenizer, slots=2, queue=4)
    encoder = Encoder(load_template("qwen"), tokenizer)
    settings = Settings(max_new_tokens=12, elastic=True, stop_ids=encoder.stop_ids, do_sample=False)
    app = make_app(Service(Session(engine, encoder), settings, "tiny"), Door(KEY), pages=Pages("chat"))
    with serve(app) as url:
        yield Served(url, engine)


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    """The page, opened with the key in its address. Whatever breaks the page's policy or its scripts fails the test."""
    context = browser.new_context(locale="en-GB", color_scheme="light")
    opened, wrong = context.new_page(), []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
    opened.goto(f"{served.url}/#key={KEY}")
    opened.wait_for_selector("html[data-ready]")
    yield opened
    context.close()
    assert wrong == []
