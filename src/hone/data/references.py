"""Where the media of an example lie, as bytes for the cache: paths as they are, and those that a row carries itself.

One that comes again (a pair shows its prompt's twice) is written as the place of the first.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from hone.dialogue.message import Media


def written(media: Sequence[Media]) -> bytes:
    """Media as JSON; nothing for none."""
    first: dict[Media, int] = {}
    places = [first.setdefault(one, place) for place, one in enumerate(media)]
    plain = [_plain(one) if places[place] == place else places[place] for place, one in enumerate(media)]
    return json.dumps(plain).encode() if media else b""


def read(kept: bytes) -> tuple[Media, ...]:
    """The media that were written."""
    media: list[Media] = []
    for one in json.loads(kept) if kept else ():
        media.append(media[one] if isinstance(one, int) else _medium(*one))
    return tuple(media)


def _plain(medium: Media) -> list[Any]:
    if isinstance(medium.source, bytes):
        return [medium.kind, base64.b64encode(medium.source).decode(), True]
    return [medium.kind, medium.source, False]


def _medium(kind: Any, source: str, inside: bool) -> Media:
    return Media(kind, base64.b64decode(source) if inside else source)
