"""A medium is found, kept within its folder and the limits; a picture is measured by its header, not decoded."""

from __future__ import annotations

import base64
import binascii
import io
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hone.dialogue.message import Media

if TYPE_CHECKING:
    from PIL.Image import Image as Opened

MOST_BYTES = 1 << 30
"""Of a file; pictures and sounds of a data set are far below."""
MOST_INLINE = 64 << 20
"""Letters of a data URL."""
MOST_PIXELS = 178_956_970
"""Of a picture: as many as a decoder of the field opens before it suspects a bomb; 512 MiB in RGB."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
REMOTE = ("http://", "https://", "ftp://", "s3://", "gs://")


class MediaFault(Exception):  # noqa: N818 - a finding about a row, reported with its place by whoever reads rows
    """What is wrong with a medium: a code, and words that do not repeat its content."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code
        self.what = what


@dataclass(frozen=True)
class Measured:
    """A medium that may be opened: its bytes, and for a picture its format and size in pixels."""

    kind: str
    bytes: int
    format: str = ""
    width: int = 0
    height: int = 0


def measured(medium: Media, root: Path, *, outside: bool = False) -> Measured:
    """Look at a medium below `root` (anywhere, with `outside`), or at bytes or a data URL. Raises MediaFault."""
    found = located(medium, root, outside=outside)
    size = len(found) if isinstance(found, bytes) else _size(found)
    if size == 0:
        raise MediaFault("MEDIA-EMPTY", f"the {medium.kind} {_name(medium)} is empty")
    if size > MOST_BYTES:
        raise MediaFault("MEDIA-TOO-LARGE", f"the {medium.kind} {_name(medium)} has {size:,} bytes")
    if medium.kind != "image":
        return Measured(medium.kind, size)
    with io.BytesIO(found) if isinstance(found, bytes) else found.open("rb") as stream:
        form, width, height = header(stream, _name(medium))
    if width * height > MOST_PIXELS:
        what = f"the image {_name(medium)} has {width:,} x {height:,} pixels, more than {MOST_PIXELS:,}"
        raise MediaFault("IMAGE-TOO-LARGE", what)
    return Measured("image", size, form, width, height)


def located(medium: Media, root: Path, *, outside: bool = False) -> bytes | Path:
    """The bytes of a medium that carries them, or where its file lies. Raises MediaFault; nothing is fetched."""
    source = medium.source
    if isinstance(source, bytes):
        return source
    if source.startswith("data:"):
        return _inline(source, medium.kind)
    if source.lower().startswith(REMOTE):
        raise MediaFault("MEDIA-URL", f"the {medium.kind} is a URL, which is not fetched; download it to media_dir")
    return _within(source.removeprefix("file://"), root, medium, outside=outside)


def _within(source: str, root: Path, medium: Media, *, outside: bool) -> Path:
    if "\0" in source or not source:
        raise MediaFault("MEDIA-MISSING", f"the {medium.kind} has no path")
    try:
        path = (root / source).resolve()
        inside = path.is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a circle of links
        raise MediaFault("MEDIA-MISSING", f"the path of the {medium.kind} {_name(medium)} leads nowhere") from None
    if not inside and not outside:
        what = f"the {medium.kind} {_name(medium)} lies outside media_dir ({root})"
        raise MediaFault("MEDIA-OUTSIDE-ROOT", what)
    return path


def _size(path: Path) -> int:
    try:
        found = path.stat()
    except (OSError, ValueError):
        raise MediaFault("MEDIA-MISSING", f"no such file: {path.name}") from None
    if not stat.S_ISREG(found.st_mode):
        raise MediaFault("MEDIA-MISSING", f"no plain file: {path.name}")
    return found.st_size


def _inline(source: str, kind: str) -> bytes:
    head, comma, body = source.partition(",")
    if len(source) > MOST_INLINE:
        raise MediaFault("MEDIA-TOO-LARGE", f"the data URL of the {kind} has {len(source):,} letters")
    if not comma or not head.endswith(";base64"):
        raise MediaFault("MEDIA-BROKEN", f"the data URL of the {kind} is not base64")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise MediaFault("MEDIA-BROKEN", f"the data URL of the {kind} is not valid base64") from None


def header(stream: BinaryIO, name: str, formats: tuple[str, ...] = FORMATS) -> tuple[str, int, int]:
    """Format, width and height, as it is looked at, of a picture in one of these formats; nothing is decoded.

    Raises MediaFault.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(stream, formats=formats) as image:
                across, down = (image.height, image.width) if turn(image) >= 5 else image.size
                return str(image.format), across, down
    except Image.DecompressionBombError:
        raise MediaFault("IMAGE-TOO-LARGE", f"the image {name} has more pixels than may be opened") from None
    except Exception:  # whatever a decoder stumbles over in a damaged file, its words may hold parts of the file
        raise MediaFault("IMAGE-BROKEN", f"{name} is no image that can be read ({', '.join(formats)})") from None


def turn(image: Opened) -> int:
    """How a picture just opened has to be turned, 1 (not at all) to 8, as EXIF counts; from 5 on its sides change."""
    from PIL import Image

    if image.format == "TIFF":  # the decoder turns it, and says the size that it has then
        return 1
    try:
        found = Image.Image.getexif(image).get(0x0112, 1)  # that of a PNG would decode its pixels
    except Exception:  # broken notes do not make a picture unreadable
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _name(medium: Media) -> str:
    source = medium.source
    return Path(source).name[:80] if isinstance(source, str) and not source.startswith("data:") else "in the row"
