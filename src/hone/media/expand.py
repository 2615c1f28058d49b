"""Media become the tokens that a model sees in their place: spans of text, some of them repeated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hone.errors import DataError
from hone.media.presize import Size, presized
from hone.registry import find, names

FAMILIES = "hone.media.families"
FUNCTIONS: Mapping[str, str] = {"image": "picture", "video": "film", "audio": "sound"}
"""What a family calls its function for a kind of medium."""


class Span(NamedTuple):
    """Text that stands `times` times; `sees` when each time stands for a piece of the medium itself."""

    text: str
    times: int = 1
    sees: bool = False


class Picture(NamedTuple):
    """A picture's size in pixels, as it is looked at."""

    width: int
    height: int


class Film(NamedTuple):
    """A video's size in pixels, its frames, and how many of them pass in a second."""

    width: int
    height: int
    frames: int
    rate: float


class Sound(NamedTuple):
    """How many samples a sound has at the processor's own rate."""

    samples: int


@dataclass(frozen=True)
class Grounds:
    """What a family reckons with: the card's words for its tokens, the processor's numbers and the recipe's limits.

    `whole`: every token of a medium, or one for each, where an engine multiplies them itself.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = True

    def number(self, name: str, default: Any = None) -> Any:
        """A number of the processor, or else of its image processor. DataError where there is neither nor a default."""
        inner = self.numbers.get("image_processor") or {}
        found = self.numbers.get(name, inner.get(name, default))
        if found is None:
            raise DataError.one("DATA-MEDIA", f"the model's processor does not say its {name}")
        return found

    def sized(self, size: Size, *, kind: str = "image", rule: str = "generic") -> Size:
        """What a picture or a frame is brought to before the model's own processor sees it."""
        most, least = (768 * 768, 32 * 32) if kind == "image" else (256 * 256, 16 * 16)
        return presized(
            size,
            max_pixels=self.number(f"{kind}_max_pixels", most),
            min_pixels=self.number(f"{kind}_min_pixels", least),
            rule=rule,
        )

    def seen(self, kind: str, times: int) -> Span:
        """So many of the card's tokens for a kind of medium; one where an engine multiplies it itself."""
        return Span(self.words[kind], times if self.whole else 1, sees=True)


def families() -> tuple[str, ...]:
    """The families whose media can be expanded."""
    return names(FAMILIES)


def expanded(family: str, kind: str, medium: Picture | Film | Sound, grounds: Grounds) -> list[Span]:
    """What stands in the place of a medium. DataError (DATA-MEDIA) where the family does not take such a medium."""
    write = writer(family, kind)
    return [span for span in write(medium, grounds) if span.text and span.times]


def rule_of(family: str) -> str:
    """By which rule a family's pictures are brought to a size before its processor sees them."""
    return str(getattr(find(FAMILIES, family), "RULE", "generic"))


def tokens_of(family: str, sizes: Sequence[Picture], features: Mapping[str, Any], grounds: Grounds) -> list[int]:
    """How many tokens stand for each picture, of these sizes in their files, by what the processor made of it."""
    found = getattr(find(FAMILIES, family), "counted", None)
    if found is None:
        raise DataError.one("DATA-MEDIA", f"media family {family} cannot be trained on yet")
    made: list[int] = found(sizes, features, grounds)
    return made


def writer(family: str, kind: str) -> Callable[[Any, Grounds], Sequence[Span]]:
    """The function of a family for a kind of medium. Raises DataError where there is none."""
    found = getattr(find(FAMILIES, family), FUNCTIONS[kind], None) if family in families() else None
    if found is None:
        what = f"media family {family} does not take {kind}s" if family != "base" else f"this template takes no {kind}s"
        raise DataError.one("DATA-MEDIA", what, "template", "name the template of a model that does")
    made: Callable[[Any, Grounds], Sequence[Span]] = found
    return made


def expanded_text(text: str, family: str, media: Mapping[str, Sequence[Any]], grounds: Grounds) -> list[list[Span]]:
    """The spans of a text whose placeholders (`<image>` …) stand for `media`, in order, one list for each placeholder
    and each stretch of text. DataError where the counts differ."""
    for kind in FUNCTIONS:
        there, wanted = text.count(f"<{kind}>"), len(media.get(kind, ()))
        if there != wanted:
            what = f"{there} <{kind}> in the text, {wanted} {kind}s beside it"
            raise DataError.one("DATA-MEDIA", what, "media", "give one placeholder for each medium")
    waiting = {kind: iter(media.get(kind, ())) for kind in FUNCTIONS}
    return [
        expanded(family, stretch[1:-1], next(waiting[stretch[1:-1]]), grounds) if place % 2 else [Span(stretch)]
        for place, stretch in enumerate(_stretches(text))
    ]


def _stretches(text: str) -> list[str]:
    """Text and placeholders, by turns."""
    return re.split("(" + "|".join(f"<{kind}>" for kind in FUNCTIONS) + ")", text)
