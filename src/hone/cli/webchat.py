"""`hone webchat`: the server with the chat page on it, at the address that users of Gradio's variables expect."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hone.server.main import Place, serve
from hone.web.pages import Pages

PORT = "7860"


def run(words: Sequence[str]) -> int:
    """Serve the model of a recipe, and the page that talks with it. Returns the exit code."""
    return serve(words, "webchat", place_of(os.environ), Pages("chat"))


def place_of(environment: Mapping[str, str]) -> Place:
    """GRADIO_SERVER_NAME, GRADIO_SERVER_PORT and GRADIO_ROOT_PATH go before the API's own; the port is 7860."""
    told = dict(environment)
    for gradio, own in (
        ("GRADIO_SERVER_NAME", "API_HOST"),
        ("GRADIO_SERVER_PORT", "API_PORT"),
        ("GRADIO_ROOT_PATH", "FASTAPI_ROOT_PATH"),
    ):
        told[own] = environment.get(gradio) or environment.get(own) or (PORT if own == "API_PORT" else "")
    place = Place.of(told)
    return replace(place, name=environment.get("API_MODEL_NAME") or "")
