"""Llama 3.2 Vision: one token for a picture, which the text looks at through cross attention."""

from __future__ import annotations

from hone.media.expand import Grounds, Picture, Span


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """One token, whatever the size."""
    return [grounds.seen("image", 1)]
