"""What stands in the place of a medium, and what is refused."""

from __future__ import annotations

import pytest

from hone.dialogue.template import load_template, template_names
from hone.errors import DataError
from hone.media.expand import Film, Grounds, Picture, Sound, expanded, expanded_text, families

QWEN = Grounds(
    {"image": "<|image_pad|>", "video": "<|video_pad|>"},
    {"patch_size": 14, "merge_size": 2, "min_pixels": 3136, "max_pixels": 1003520},
)


def test_a_picture_becomes_as_many_tokens_as_its_grid_has_places() -> None:
    spans = expanded("qwen2_vl", "image", Picture(224, 112), QWEN)
    assert [(span.text, span.times) for span in spans if span.sees] == [("<|image_pad|>", 8 * 4)]


def test_an_engine_that_multiplies_itself_gets_one_token() -> None:
    spans = expanded("llava", "image", Picture(640, 480), Grounds({"image": "<image>"}, whole=False))
    assert [(span.text, span.times) for span in spans] == [("<image>", 1)]


def test_a_family_refuses_media_that_it_does_not_take() -> None:
    for family, kind, medium in (
        ("base", "image", Picture(8, 8)),
        ("llava", "video", Film(8, 8, 2, 1.0)),
        ("qwen2_vl", "audio", Sound(16000)),
        ("not_a_family", "image", Picture(8, 8)),
    ):
        with pytest.raises(DataError, match="DATA-MEDIA"):
            expanded(family, kind, medium, QWEN)


def test_a_processor_that_does_not_say_its_numbers_is_refused() -> None:
    with pytest.raises(DataError, match="patch_size"):
        expanded("qwen2_vl", "image", Picture(64, 64), Grounds({"image": "<|image_pad|>"}))


def test_placeholders_and_media_must_be_as_many() -> None:
    with pytest.raises(DataError, match=r"2 <image> in the text, 1 images"):
        expanded_text("<image> and <image>", "qwen2_vl", {"image": [Picture(64, 64)]}, QWEN)


def test_every_family_here_is_one_that_a_card_names() -> None:
    named = {load_template(name).media.family for name in template_names()}
    assert set(families()) <= named
