"""Serving a page: its files under a strict policy, and the list of languages that its words are in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Pages:
    """One page (a folder beside this file) and what all pages share. The files hold no secret: they need no key."""

    name: str

    @cached_property
    def files(self) -> Mapping[str, tuple[bytes, str]]:
        """Address -> content and its type. What is not listed here is not served."""
        found = {
            f"/web/{room}/{path.relative_to(HERE / room).as_posix()}": (path.read_bytes(), KINDS[path.suffix])
            for room in ("shared", self.name)
            for path in sorted((HERE / room).rglob("*"))
            if path.suffix in KINDS
        }
        languages = {path.stem: _own_name(path) for path in sorted((HERE / self.name / "words").glob("*.json"))}
        found["/web/languages.json"] = (json.dumps(languages, ensure_ascii=False).encode(), KINDS[".json"])
        found["/"] = found[f"/web/{self.name}/index.html"]
        return found

    @property
    def addresses(self) -> frozenset[str]:
        """What may be fetched without a key."""
        return frozenset(self.files)

    def mount(self, app: Any) -> None:
        """Add the files to a FastAPI application."""
        for address, (content, kind) in self.files.items():
            app.add_api_route(address, _giver(content, kind), methods=["GET"], include_in_schema=False)


def _own_name(path: Path) -> str:
    return str(json.loads(path.read_text("utf-8"))["language"])


def _giver(content: bytes, kind: str) -> Any:
    from starlette.responses import Response

    async def give() -> Response:
        return Response(content, media_type=kind, headers=dict(HEADERS))

    give.__annotations__ = {}
    return give
