"""Where the media of an example lie, as bytes for the cache: paths as they are, and those that a row carries itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from hone.dialogue.message import Media


def written(media: Sequence[Media]) -> bytes:
    """Media as JSON; nothing for none."""
    return json.dumps([_plain(one) for one in media]).encode() if media else b""


def read(kept: bytes) -> tuple[Media, ...]:
    """The media that were written."""
    return tuple(_medium(*one) for one in json.loads(kept)) if kept else ()


def _plain(medium: Media) -> list[Any]:
    if isinstance(medium.source, bytes):
        return [medium.kind, base64.b64encode(medium.source).decode(), True]
    return [medium.kind, medium.source, False]


def _medium(kind: Any, source: str, inside: bool) -> Media:
    return Media(kind, base64.b64decode(source) if inside else source)
