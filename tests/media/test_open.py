"""A medium is checked before anything is decoded: its place, its size, its header."""

from __future__ import annotations

import base64
import io
import resource
import zlib
from pathlib import Path

import pytest
from PIL import Image

from hone.dialogue.message import Media
from hone.media.open import MediaFault, measured


def picture(width: int = 30, height: int = 20, form: str = "PNG", mode: str = "RGB") -> bytes:
    target = io.BytesIO()
    Image.new(mode, (width, height)).save(target, form)
    return target.getvalue()


def fault(source: str | bytes, root: Path, kind: str = "image") -> str:
    with pytest.raises(MediaFault) as caught:
        measured(Media(kind, source), root)  # type: ignore[arg-type]
    return caught.value.code


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_is_measured_by_its_header_wherever_it_is(tmp_path: Path, form: str) -> None:
    whole = picture(form=form)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.bin").write_bytes(whole)
    url = "data:image/png;base64," + base64.b64encode(whole).decode()
    for source in ("sub/a.bin", str(tmp_path / "sub" / "a.bin"), whole, url):
        found = measured(Media("image", source), tmp_path)
        assert (found.width, found.height, found.format, found.bytes) == (30, 20, form, len(whole))


def test_pixels_are_not_decoded(tmp_path: Path) -> None:
    whole = picture(4000, 4000)
    found = measured(Media("image", whole[: len(whole) // 2]), tmp_path)  # half of it is enough
    assert (found.width, found.height) == (4000, 4000)


def test_a_small_file_with_too_many_pixels_is_refused_without_memory_for_them(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    header = picture(1, 1, mode="1")
    size = (30_000).to_bytes(4, "big")
    chunk = b"IHDR" + size + size + header[24:29]
    bomb.write_bytes(header[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + header[33:])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fault("bomb.png", tmp_path) == "IMAGE-TOO-LARGE"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_path_stays_within_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "media"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(picture())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    for source in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "/etc/passwd", "file:///etc/passwd"):
        assert fault(source, root) == "MEDIA-OUTSIDE-ROOT"
    assert measured(Media("image", "../secret.png"), root, outside=True).width == 30


def test_what_is_missing_or_damaged_has_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "folder.png").mkdir()
    for source in ("absent.png", "circle.png", "folder.png", "", "a\0b"):
        assert fault(source, tmp_path) == "MEDIA-MISSING"
    assert fault("empty.png", tmp_path) == "MEDIA-EMPTY"
    assert fault("text.png", tmp_path) == fault(picture()[:20], tmp_path) == "IMAGE-BROKEN"
    assert fault("https://example.org/a.png", tmp_path) == "MEDIA-URL"
    assert fault("data:image/png;base64,???", tmp_path) == "MEDIA-BROKEN"


def test_sounds_and_videos_are_found_and_weighed(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF1234")
    assert measured(Media("audio", "a.wav"), tmp_path).bytes == 8
    assert fault("b.mp4", tmp_path, "video") == "MEDIA-MISSING"
