"""Pictures in requests: read from data URLs, and held against limits by their headers before anything is decoded."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hone.dialogue.encoder import Encoder
from hone.dialogue.message import Conversation, Media
from hone.engines.session import seen_in
from hone.errors import DataError
from hone.media.open import MediaFault, header
from hone.server.refusal import RefusedError
from hone.server.sources import Sources

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
"""Of an animation the first picture is shown."""
MOST = 32
"""Pictures in one request."""
MOST_BYTES, SECONDS = 40 * 2**20, 10.0
"""Of all pictures of a request that are not in it, and for fetching them."""
MOST_PIXELS, MOST_PIXELS_WEBP = 20_000_000, 10_000_000
"""Of one picture: decoding it takes up to 170 MiB. WebP's decoder takes twice as much for each pixel."""
FEW = 64
"""Messages without pictures that are read in passing."""
READERS, DECODERS = 4, 2
"""How many requests' pictures are read, and how many decoded, at the same time; each of these takes memory."""

Result = TypeVar("Result")


class Gallery:
    """Reads and decodes pictures away from the thread that answers everybody."""

    def __init__(self) -> None:
        self._readers = ThreadPoolExecutor(READERS, "hone-read")
        self._decoders = ThreadPoolExecutor(DECODERS, "hone-decode")

    async def read(self, messages: Any, work: Callable[[], Result]) -> Result:
        """Do the reading of these messages, in another thread where it may take time."""
        if not has_pictures(messages) and not (isinstance(messages, list) and len(messages) > FEW):
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def seen(self, encoder: Encoder, shown: Conversation, prompt: list[int]) -> Any:
        """What the engine is given beside a prompt, None for text alone. Raises RefusedError for a damaged picture."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoders, seen_in, encoder, shown, prompt)
        except DataError as error:
            if error.faults[0].code != "IMAGE-BROKEN":
                raise
            raise RefusedError("a picture is damaged and cannot be decoded", "messages") from None


class Look:
    """The pictures of one request, one after the other; `blind` says why there can be none, `sources` where they may
    come from besides the request itself."""

    def __init__(self, blind: str = "this model reads text alone", sources: Sources | None = None) -> None:
        self.blind, self.sources = blind, sources or Sources()
        self.count, self.left, self.until = 0, MOST_BYTES, time.monotonic() + SECONDS

    def __call__(self, url: str, where: str) -> Media:
        """The picture at an address. Raises RefusedError with its place."""
        if self.blind:
            raise RefusedError(f"no picture can be shown here: {self.blind}", where)
        self.count += 1
        if self.count > MOST:
            raise RefusedError(f"a request may have {MOST} pictures at most", where)
        if url[:5].lower() == "data:":
            return checked(inline(url, where), where)
        found = self.sources.taken(url, where, until=self.until, most=self.left)
        self.left -= len(found)
        return checked(found, where)


def has_pictures(messages: Any) -> bool:
    """Whether any part of any message is one; messages may still be anything."""
    contents = [one.get("content") for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)


def inline(url: str, where: str) -> bytes:
    """The bytes of a data URL; line breaks, the alphabet for addresses and missing padding are taken too."""
    head, comma, body = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise RefusedError("a data URL must be base64 (data:image/png;base64,…)", where)
    plain = "".join(body.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError("the data URL is not valid base64", where) from None


def checked(found: bytes, where: str) -> Media:
    """The picture, if it is one and not too large. Raises RefusedError; its words tell nothing of the content."""
    try:
        form, width, height = header(io.BytesIO(found), "it", FORMATS)
    except MediaFault as fault:
        if fault.code == "IMAGE-TOO-LARGE":
            raise RefusedError(f"a picture may have {MOST_PIXELS:,} pixels at most", where) from None
        raise RefusedError(f"this is no picture that can be read ({', '.join(FORMATS)})", where) from None
    most = MOST_PIXELS_WEBP if form == "WEBP" else MOST_PIXELS
    if width * height > most:
        what = f"the picture has {width:,} x {height:,} pixels; {most:,} are the most" + f" in {form}" * (
            form == "WEBP"
        )
        raise RefusedError(what, where)
    return Media("image", found)
