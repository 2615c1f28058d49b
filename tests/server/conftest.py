"""A real server on a tiny model, and the official client."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that the tests beside this file can say `from storm import …`

KEY = "sesame-opens-this"


@dataclass(frozen=True)
class Served:
    """Where it listens, its engine, and what is served."""

    url: str
    engine: Any
    service: Any
    app: Any


@pytest.fixture(scope="session")
def served(tiny_model: Callable[[str], Path], serve: Callable[[Any], Any]) -> Iterator[Served]:
    """Three at once, five more may wait, with a key."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hone.dialogue.encoder import Encoder
    from hone.dialogue.template import load_template
    from hone.engines.base import Settings
    from hone.engines.session import Session
    from hone.engines.torch import TorchEngine
    from hone.server.app import make_app
    from hone.server.guard import Door
    from hone.server.service import Service

    folder = tiny_model("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    engine = TorchEngine(
        AutoModelForCausalLM.from_pretrained(folder, max_position_embeddings=2048), tokenizer, slots=3, queue=5
    )
    encoder = Encoder(load_template("qwen"), tokenizer)
    settings = Settings(max_new_tokens=32, elastic=True, stop_ids=encoder.stop_ids)
    service = Service(Session(engine, encoder), settings, "tiny")
    app = make_app(service, Door(KEY))
    with serve(app) as url:
        yield Served(url, engine, service, app)


@pytest.fixture(scope="session")
def seeing_session(seeing_model: Callable[[str], Path]) -> Any:
    """A session with a tiny model that sees."""
    from hone.recipe import Recipe
    from hone.runs.session import open_session

    recipe = Recipe()
    model = replace(recipe.model, model_name_or_path=str(seeing_model("qwen2_5_vl")), infer_dtype="float32")
    return open_session(replace(recipe, model=model, data=replace(recipe.data, template="qwen2_vl")))


@pytest.fixture(scope="session")
def seeing_served(seeing_session: Any, serve: Callable[[Any], Any]) -> Iterator[Served]:
    """A server that answers about pictures."""
    from hone.engines.base import Settings
    from hone.server.app import make_app
    from hone.server.guard import Door
    from hone.server.service import Service

    stops = seeing_session.encoder.stop_ids
    settings = Settings(max_new_tokens=12, do_sample=False, elastic=True, stop_ids=stops)
    service = Service(seeing_session, settings, "tiny")
    app = make_app(service, Door(KEY))
    with serve(app) as url:
        yield Served(url, service.engine, service, app)


@pytest.fixture
def client(served: Served) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0, timeout=30)
