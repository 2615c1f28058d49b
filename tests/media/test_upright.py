"""A picture with a note on how it was held is seen upright, in its tokens' sizes and in its pixels."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from hone.dialogue.message import Media
from hone.media.expand import Grounds
from hone.media.open import measured
from hone.media.pixels import opened

GROUNDS = Grounds({}, {"image_max_pixels": 10_000, "image_min_pixels": 1})


def held(form: str, note: int) -> bytes:
    """A picture of 30 x 20 pixels with four different corners, and a note on how it was held."""
    image = Image.new("RGB", (30, 20))
    image.putdata([(8 * x, 12 * y, 40) for y in range(20) for x in range(30)])
    exif = Image.Exif()
    exif[0x0112] = note
    stream = io.BytesIO()
    image.save(stream, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    return stream.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("note", range(1, 9))
def test_a_picture_is_measured_and_decoded_as_if_it_was_saved_upright(form: str, note: int, tmp_path: Path) -> None:
    source = held(form, note)
    with Image.open(io.BytesIO(source)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    found = measured(Media("image", source), tmp_path)
    assert (found.width, found.height) == upright.size == ((20, 30) if note >= 5 else (30, 20))
    size, pixels = opened(Media("image", source), tmp_path, GROUNDS, "generic")
    assert (size.width, size.height) == upright.size
    assert pixels.tobytes() == upright.tobytes()


@pytest.mark.parametrize("note", [0, 9, 65_535])
def test_a_note_that_means_nothing_turns_nothing(note: int, tmp_path: Path) -> None:
    found = measured(Media("image", held("JPEG", note)), tmp_path)
    assert (found.width, found.height) == (30, 20)
