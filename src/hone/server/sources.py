"""Where pictures may come from besides the request itself: one folder, and hosts by name. Nowhere, as a rule."""

from __future__ import annotations

import os
import stat
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from hone.dialogue.message import Media
from hone.errors import RecipeError
from hone.media.open import MediaFault, located
from hone.server.fetching import MOST_BYTES, Hosts, fetched
from hone.server.refusal import RefusedError


@dataclass(frozen=True)
class Sources:
    """`folder`: below it files may be read, None for nowhere; `hosts`: what may be fetched."""

    folder: Path | None = None
    hosts: Hosts = field(default_factory=Hosts)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Sources:
        """`SAFE_MEDIA_PATH`, unless `ALLOW_LOCAL_FILES` is 0, and `API_MEDIA_HOSTS`. Raises RecipeError."""
        named = environment.get("SAFE_MEDIA_PATH", "")
        allowed = environment.get("ALLOW_LOCAL_FILES", "1").strip().lower() in ("1", "true", "y")
        folder = Path(named).expanduser() if named and allowed else None
        if folder is not None and not folder.is_dir():
            raise RecipeError.one("ENV-FOLDER", f"SAFE_MEDIA_PATH names no folder: {named!r}", "SAFE_MEDIA_PATH")
        return cls(folder and folder.resolve(), Hosts.of(environment.get("API_MEDIA_HOSTS", "")))

    def taken(self, url: str, where: str, *, until: float, most: int) -> bytes:
        """What lies at an address, `most` bytes at most, by the time `until` of the monotonic clock.

        Raises RefusedError: 403 for what is not allowed, 400 for what cannot be had.
        """
        most = min(most, MOST_BYTES)
        scheme = url.partition(":")[0].lower()
        if scheme in ("http", "https"):
            return fetched(url, self.hosts, where, until=until, most=most)
        if self.folder is None or (scheme != "file" and "://" in url):
            not_allowed(where)
        return _read(urllib.parse.unquote(url[7:]) if scheme == "file" else url, self.folder, where, most)


def not_allowed(where: str) -> NoReturn:
    """Raises RefusedError; it does not say what there is."""
    what = "pictures are taken as data URLs (data:image/png;base64,…); this address is not allowed here"
    raise RefusedError(what, where, status=403, code="media_not_allowed")


def _read(path: str, folder: Path, where: str, most: int) -> bytes:
    """A plain file below the folder wherever links lead; anything else is not opened, or not waited for."""
    try:
        found = located(Media("image", path), folder)
        if not isinstance(found, Path) or not stat.S_ISREG(found.stat().st_mode):
            raise RefusedError("there is no such picture", where)
        opened = os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (MediaFault, OSError, ValueError) as fault:
        if isinstance(fault, MediaFault) and fault.code == "MEDIA-OUTSIDE-ROOT":
            not_allowed(where)
        raise RefusedError("there is no such picture", where) from None
    with os.fdopen(opened, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise RefusedError("the picture is too large", where)
    return content
