"""Youtu-VL: one token between the words of the family; its own processor multiplies it."""

from __future__ import annotations

from hone.media.expand import Film, Grounds, Picture, Span
from hone.media.families._grid import wrapped


def picture(picture: Picture, grounds: Grounds) -> list[Span]:
    """One token, whatever the size."""
    return wrapped(grounds, [grounds.seen("image", 1)])


def film(film: Film, grounds: Grounds) -> list[Span]:
    """One token, whatever the length."""
    return wrapped(grounds, [grounds.seen("video", 1)])
