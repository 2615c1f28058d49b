"""The application: which routes there are, and what each of them hands to the service."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from hone import __version__
from hone.errors import HoneError
from hone.server.adapters import listed, load, one_model, unload
from hone.server.arrivals import until_gone
from hone.server.asks import Ask, read_chat, read_plain
from hone.server.fields import Body, check_names, read_json
from hone.server.guard import Door, Guard
from hone.server.info import info_of
from hone.server.phases import HEARING
from hone.server.readings import embeddings, scores
from hone.server.refusal import RefusedError, refusal_of
from hone.server.replies import stream, whole
from hone.server.schema import complete
from hone.server.service import Service
from hone.server.tally import KIND

LARGEST = 20 * 2**20
"""Bytes of a request's body at most."""
SLOWEST = 2**18
"""Bytes a second of a body that takes longer than `HEARING` to arrive."""
LONG = 2**16
"""Bytes of a body from which on it is read in another thread, so that others are heard meanwhile."""
ASKED_ON = 5.0
"""Seconds for the first part of a body to whose sender we said that we go on listening (`Expect: 100-continue`)."""
LEFT = 499
"""The status, in the log alone, of a request whose client left before it was said or answered."""


def make_app(service: Service, door: Door, *, root_path: str = "", pages: Any = None) -> FastAPI:
    """The application that serves one model; `pages` (`hone.web.pages.Pages`) are put beside it, open without a key."""
    app = FastAPI(title="Hone", version=__version__, root_path=root_path)
    _add_routes(app, service)
    if pages is not None:
        door = replace(door, open=door.open | pages.addresses)
        pages.mount(app)
    for kind in (RefusedError, HoneError):
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(404, _missing)
    app.add_exception_handler(405, _missing)
    _describe(app, service.vocabulary)
    service.tally.paths = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(Guard, door=door, tally=service.tally)
    if door.origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(door.origins), allow_methods=["*"], allow_headers=["*"])
    return app


def _describe(app: FastAPI, vocabulary: int) -> None:
    """Let `/openapi.json` say what bodies hold, which are read by hand."""
    plain = app.openapi

    def told() -> dict[str, Any]:
        if app.openapi_schema is None:
            complete(plain(), vocabulary)
        return app.openapi_schema or {}

    app.openapi = told  # type: ignore[method-assign]


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    @app.get("/health/live")
    @app.get("/health/ready")
    async def health() -> dict[str, str]:
        if not service.engine.alive:
            raise RefusedError("the engine has ended; start the server again", status=503, code="engine_ended")
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": listed(service)}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        return one_model(service, name)

    @app.post("/v1/load_lora_adapter")
    async def load_adapter(request: Request) -> Response:
        return Response(await load(service, await _body(request)), media_type="text/plain")

    @app.post("/v1/unload_lora_adapter")
    async def unload_adapter(request: Request) -> Response:
        return Response(await unload(service, await _body(request)), media_type="text/plain")

    @app.get("/info")
    async def info() -> dict[str, Any]:
        return info_of(service)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await _answer(service, request, await read_chat(service, await _body(request)))

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await _answer(service, request, await read_plain(service, await _body(request)))

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.tally.text(service.engine.scheduler.now), media_type=KIND)

    @app.post("/v1/embeddings")
    async def embed(request: Request) -> dict[str, Any]:
        return await embeddings(service, await _body(request))

    @app.post("/v1/score/evaluation")
    async def score(request: Request) -> dict[str, Any]:
        service.check_mode(scores=True)
        return await scores(service, await _body(request))

    @app.post("/tokenize")
    async def tokenize(request: Request) -> dict[str, Any]:
        return await _tokenize(service, await _body(request))


async def _answer(service: Service, request: Request, ask: Ask) -> Response:
    """Whole or as a stream; whoever leaves before the end cancels."""
    service.check_mode(scores=False)
    arrivals = service.submit(ask.prompt, ask.settings, ask.seen)
    if ask.stream:
        return StreamingResponse(stream(ask, arrivals), media_type="text/event-stream")
    try:
        found = await until_gone(request.is_disconnected, whole(ask, arrivals))
    finally:
        arrivals.cancel()
    return Response(status_code=LEFT) if found is None else JSONResponse(found)


async def _tokenize(service: Service, body: Body) -> dict[str, Any]:
    """vLLM's shape: a prompt's ids, or those that a chat is asked with."""
    if "messages" in body:
        ids = (await read_chat(service, body)).prompt
    else:
        check_names(body, frozenset({"model", "prompt"}), {})
        service.voice(body)
        ids = await service.ids_of(body.get("prompt"))
    return {"count": len(ids), "max_model_len": service.engine.context, "tokens": ids}


async def _body(request: Request) -> Body:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError("the body must be application/json", status=415)
    _bounded(int(request.headers.get("content-length", 0)))
    read, began = bytearray(), asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(ASKED_ON if "expect" in request.headers else HEARING) as limit:
            async for part in request.stream():
                read += part
                _bounded(len(read))
                limit.reschedule(began + HEARING + len(read) / SLOWEST)
    except TimeoutError:
        raise RefusedError("the body did not arrive in time", status=408) from None
    raw = bytes(read)
    return read_json(raw) if len(raw) < LONG else await asyncio.to_thread(read_json, raw)


def _bounded(length: int) -> None:
    if length > LARGEST:
        raise RefusedError(f"the body is larger than {LARGEST} bytes", status=413)


async def _refused(request: Request, error: Exception) -> Response:
    refused = refusal_of(error)
    return JSONResponse(refused.body, refused.status, refused.headers)


async def _left(request: Request, error: Exception) -> Response:
    return Response(status_code=LEFT)


async def _missing(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else getattr(error, "status_code", 404)
    what = "there is no such route" if status == 404 else "this route does not take this method"
    return JSONResponse(RefusedError(what, status=status).body, status, getattr(error, "headers", None))
