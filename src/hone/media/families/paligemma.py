"""PaliGemma: nothing stands where a picture was; its tokens go before the whole conversation (`prefix_tokens`)."""

from __future__ import annotations

from hone.media.expand import Grounds, Picture, Span


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """Nothing."""
    return []


def prefix_tokens(pictures: int, grounds: Grounds) -> int:
    """How many tokens of pictures stand before the first of the text."""
    return pictures * int(grounds.number("image_seq_length", 256)) if grounds.whole else pictures
