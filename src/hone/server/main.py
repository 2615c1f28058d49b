"""`hone api`: serve a model over HTTP, set up by the environment variables that users know."""

from __future__ import annotations

import gc
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hone.errors import MachineError, RecipeError
from hone.log import say
from hone.recipe import read_recipe
from hone.server.sources import Sources

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Place:
    """Where to listen, who may ask, and how many are answered at once."""

    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = None
    key_is_new: bool = False
    name: str = "gpt-3.5-turbo"
    root_path: str = ""
    slots: int = 32
    queue: int = 128
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    """Where adapters may be loaded from while the server runs."""
    sources: Sources = field(default_factory=Sources)
    """Where pictures may be taken from."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place:
        """From the environment; a key is made where one is needed and none given. Raises RecipeError."""
        host = environment.get("API_HOST") or cls.host
        key = environment.get("API_KEY") or None
        made = key is None and host not in LOOPBACK
        named = _list(environment.get("API_HOSTS", ""))
        return cls(
            host=host,
            port=_number(environment, "API_PORT", cls.port, 0, 65535),
            key=secrets.token_urlsafe(24) if made else key,
            key_is_new=made,
            name=environment.get("API_MODEL_NAME") or cls.name,
            root_path=environment.get("FASTAPI_ROOT_PATH", ""),
            slots=_number(environment, "MAX_CONCURRENT", cls.slots, 1, 1024),
            queue=_number(environment, "MAX_WAITING", cls.queue, 0, 65536),
            hosts=(*LOOPBACK, *named) if host in LOOPBACK else named,
            origins=_list(environment.get("API_ORIGINS", "")),
            folders=tuple(map(_folder, filter(None, environment.get("API_ADAPTER_FOLDERS", "").split(",")))),
            sources=Sources.of(environment),
        )


def run(words: Sequence[str]) -> int:
    """`hone api`. Returns the exit code."""
    return serve(words, "api", Place.of(os.environ))


def serve(words: Sequence[str], verb: str, place: Place, pages: Any = None) -> int:
    """Read the recipe, take the port, load the model, serve (with these pages) until told to stop.

    Raises HoneError; a signal that ended it is raised again, so that the exit code is the signal's.
    """
    recipe = read_recipe(words, verb=verb)
    place = place if place.name else replace(place, name=Path(str(recipe.model.model_name_or_path)).name)
    listening = _listen(place)
    try:
        from hone.server.app import make_app
        from hone.server.phases import Entrance, Server
    except ImportError as missing:
        name = missing.name or "fastapi"
        raise MachineError.one("EXTRA-WEB", f"{name} is not installed", fix="pip install 'hone-llm[web]'") from None
    from hone.runs.chat import settings_of
    from hone.runs.session import open_session
    from hone.server.guard import Door
    from hone.server.service import Service

    def load() -> None:
        session = open_session(recipe, slots=place.slots, queue=place.queue, by_name=True)
        if place.name in session.encoders:
            raise RecipeError.one("ENV-NAME", f"an adapter has the model's own name {place.name}", "API_MODEL_NAME")
        usual = settings_of(recipe, session.encoder.stop_ids)
        service = Service(session, usual, place.name, place.folders, place.sources)
        server.cut = service.cut
        door = Door(place.key, place.hosts, place.origins)
        entrance.app = make_app(service, door, root_path=place.root_path, pages=pages)
        gc.collect()
        gc.freeze()  # what is there now stays; looking through all of it again would hold everybody up for long
        _welcome(place, listening, page=pages is not None)

    entrance = Entrance()
    server = Server(entrance, load)
    server.start_loading()
    server.run(sockets=[listening])
    if server.failed is not None:
        raise server.failed
    return 0


def _listen(place: Place) -> socket.socket:
    """The port, taken before the model is loaded. Raises MachineError."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # so asyncio knows: no waiting for more
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((place.host, place.port))
    except OSError as error:
        what = f"cannot listen on {place.host}:{place.port}: {error.strerror}"
        raise MachineError.one("API-PORT", what, "API_PORT", "name another with API_PORT=…") from None
    return listening


def _welcome(place: Place, listening: socket.socket, *, page: bool) -> None:
    shown = f"[{place.host}]" if ":" in place.host else place.host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    say(f"Serving {place.name} at {address}/v1 ({place.slots} at once)")
    if page:
        say(f"The chat page: {address}/" + ("#key=… with the key in place of the dots" if place.key else ""))
    if place.key_is_new and place.key:
        sys.stderr.write(f"Others can reach this address, so a key is needed. This time it is: {place.key}\n")
        sys.stderr.flush()


def _number(environment: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = environment.get(name) or str(usual)
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise RecipeError.one("ENV-NUMBER", f"{name} is {text!r}, not a number from {least} to {most}", name)
    return int(text)


def _folder(text: str) -> Path:
    folder = Path(text.strip()).expanduser()
    if not folder.is_dir():
        raise RecipeError.one("ENV-FOLDER", f"API_ADAPTER_FOLDERS names no folder: {text!r}", "API_ADAPTER_FOLDERS")
    return folder.resolve()


def _list(text: str) -> tuple[str, ...]:
    return tuple(word.strip().lower() for word in text.split(",") if word.strip())
