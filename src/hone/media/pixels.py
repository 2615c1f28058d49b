"""Pictures are decoded and brought to the size that a model family's own image processor is given."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from hone.dialogue.message import Media
from hone.media.expand import Grounds, Picture
from hone.media.open import FORMATS, MOST_PIXELS, MediaFault, located, turn

if TYPE_CHECKING:
    from PIL.Image import Image

TURNS = (
    "",
    "",
    "FLIP_LEFT_RIGHT",
    "ROTATE_180",
    "FLIP_TOP_BOTTOM",
    "TRANSPOSE",
    "ROTATE_270",
    "TRANSVERSE",
    "ROTATE_90",
)
"""What brings a picture upright, by its number in EXIF."""


def opened(medium: Media, root: Path, grounds: Grounds, rule: str) -> tuple[Picture, Image]:
    """The picture's size, turned as its file says, and the picture in RGB within the recipe's bounds of area.

    Raises MediaFault where it is missing, damaged, or too large to be decoded.
    """
    from PIL import Image

    found = located(medium, root)
    source = io.BytesIO(found) if isinstance(found, bytes) else found
    name = "in the row" if isinstance(found, bytes) else found.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                size = Picture(*image.size)
                if size.width * size.height > MOST_PIXELS:
                    raise MediaFault("IMAGE-TOO-LARGE", f"the image {name} has {size.width:,} x {size.height:,} pixels")
                turned = turn(image)
                whole = image.convert("RGB")
    except MediaFault:
        raise
    except FileNotFoundError:
        raise MediaFault("MEDIA-MISSING", f"no such file: {name}") from None
    except MemoryError:
        raise
    except Exception:  # whatever a decoder stumbles over in a damaged file, its words may hold parts of the file
        raise MediaFault("IMAGE-BROKEN", f"the image {name} is damaged and cannot be decoded") from None
    if turned > 1:
        whole = whole.transpose(Image.Transpose[TURNS[turned]])
        size = Picture(*whole.size)
    wanted = grounds.sized(size, rule=rule)
    return size, whole if wanted == whole.size else whole.resize(wanted)
