"""Texts that are not answered but measured: `/v1/embeddings` and `/v1/score/evaluation`."""

from __future__ import annotations

import base64
import secrets
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from hone.engines.readings import embedding, value
from hone.server.fields import MOST_TEXTS, Body, check_names, whole
from hone.server.refusal import RefusedError
from hone.server.service import Service


async def embeddings(service: Service, body: Body) -> dict[str, Any]:
    """OpenAI's shape; `pooling` is `mean` (the usual) or `last`. Raises RefusedError."""
    known = frozenset({"model", "input", "encoding_format", "pooling", "user"})
    check_names(body, known, {})
    form, pooling = (body.get(name) for name in ("encoding_format", "pooling"))
    form, pooling = "float" if form is None else form, "mean" if pooling is None else pooling
    if form not in ("float", "base64"):
        raise RefusedError("`encoding_format` is float or base64", "encoding_format")
    if pooling not in ("mean", "last"):
        raise RefusedError("`pooling` is mean or last", "pooling")
    if service.engine.model is None:
        raise RefusedError(
            f"the engine {service.engine.name} gives no embeddings; serve the model's Hugging Face folder with "
            "infer_backend: huggingface for them",
            "model",
        )
    rows = await _rows(service, body.get("input"))
    model, _, settings = service.voice(body)
    found = await _each(service, rows, lambda reader, ids: embedding(reader, ids, pooling), settings.adapter)
    data = [{"object": "embedding", "index": place, "embedding": _in(form, row)} for place, row in enumerate(found)]
    used = sum(map(len, rows))
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"object": "list", "data": data, "model": model, "usage": usage}


async def scores(service: Service, body: Body) -> dict[str, Any]:
    """A number for each text, by the value head of a reward model. Raises RefusedError."""
    check_names(body, frozenset({"model", "messages", "max_length"}), {})
    texts, most = body.get("messages"), whole(body, "max_length", 1, 2**31)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RefusedError("`messages` must be a list of texts", "messages")
    rows = [ids if most is None else ids[:most] for ids in await _rows(service, texts, "messages")]
    model = service.voice(body)[0]
    found = await _each(service, rows, value)
    identity = f"scoreval-{secrets.token_hex(12)}"
    return {"id": identity, "object": "score.evaluation", "model": model, "scores": found}


async def _rows(service: Service, given: Any, name: str = "input") -> list[list[int]]:
    """A text, several, ids, or several lists of ids: at most so many, each within the context."""
    many = isinstance(given, list) and given and isinstance(given[0], str | list)
    texts = given if many else [given]
    if len(texts) > MOST_TEXTS:
        raise RefusedError(f"`{name}` takes up to {MOST_TEXTS} texts", name)
    rows = [await service.ids_of(text, name) for text in texts]
    context = service.engine.context
    longest = max(map(len, rows))
    if context is not None and longest > context:
        what = f"a text has {longest} tokens, but the model's context holds {context}"
        raise RefusedError(what, name, code="context_length_exceeded")
    return rows


async def _each(
    service: Service, rows: list[list[int]], work: Callable[[Any, list[int]], Any], adapter: str | None = None
) -> list[Any]:
    """One after the other, each between two steps of the answers under way."""

    def one(ids: list[int]) -> Awaitable[Any]:
        return service.aside(lambda reader: work(reader, ids), adapter)

    return [await one(ids) for ids in rows]


def _in(form: str, numbers: list[float]) -> list[float] | str:
    if form == "float":
        return numbers
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
