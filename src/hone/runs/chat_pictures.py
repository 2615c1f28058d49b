"""Pictures in `hone chat`: read from a file for the next question, and written as a part of a saved conversation."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from hone.dialogue.message import Media
from hone.media.open import MediaFault, header, measured

QUOTES = "'\""
"""What a terminal may put around a file that is dropped into it."""


def read_picture(typed: str) -> Media:
    """The picture in a file of this machine. Raises MediaFault in words for whoever named it."""
    words = typed[1:-1] if len(typed) > 1 and typed[0] == typed[-1] and typed[0] in QUOTES else typed
    if "://" in words.removeprefix("file://"):
        raise MediaFault("MEDIA-URL", "name a file of this machine: nothing is fetched")
    try:
        path = Path(words.removeprefix("file://")).expanduser().absolute()
        measured(Media("image", str(path)), path.parent, outside=True)
        return Media("image", path.read_bytes())
    except OSError as error:
        raise MediaFault("MEDIA-MISSING", f"{words} cannot be read: {error.strerror}") from None
    except (RuntimeError, ValueError):  # the home of nobody, a name that is none
        raise MediaFault("MEDIA-MISSING", f"no such file: {words}") from None


def as_part(medium: Media) -> dict[str, object]:
    """A picture as OpenAI's messages have it, by a data URL."""
    content = medium.source if isinstance(medium.source, bytes) else medium.source.encode()
    form = header(io.BytesIO(content), "it")[0].lower()
    url = f"data:image/{form};base64,{base64.b64encode(content).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
