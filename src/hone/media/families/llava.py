"""LLaVA: every picture is cropped to one square, whose patches are its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hone.media.expand import Grounds, Picture, Span


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """As many tokens as the crop has patches, with the extra one of the tower where it is not left out."""
    return [grounds.seen("image", _features(grounds) if grounds.whole else 1)]


def counted(sizes: Sequence[Picture], features: Mapping[str, Any], grounds: Grounds) -> list[int]:
    """Of each picture as many as of any."""
    return [_features(grounds)] * len(sizes)


def _features(grounds: Grounds) -> int:
    crop, patch = _crop(grounds), int(grounds.number("patch_size"))
    features = (crop[0] // patch) * (crop[1] // patch) + int(grounds.number("num_additional_image_tokens", 0))
    return features - (grounds.number("vision_feature_select_strategy", "default") == "default")


def _crop(grounds: Grounds) -> tuple[int, int]:
    """Height and width."""
    found = grounds.numbers.get("image_processor", {}).get("crop") or grounds.number("crop_size")
    if isinstance(found, dict):
        return int(found["height"]), int(found["width"])
    return int(found[0]), int(found[1])
