"""What a model sees with: pictures written as tokens when rows are prepared, and as pixels when a batch is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hone.dialogue.message import Conversation, Media, Message, Shown
from hone.errors import DataError
from hone.media.architectures import Architecture
from hone.media.expand import Grounds, Picture, expanded, rule_of, tokens_of
from hone.media.open import MediaFault, measured
from hone.media.pixels import opened
from hone.media.places import Sight, grid_places

if TYPE_CHECKING:
    from torch import Tensor

PLURALS = {"image": "pictures", "video": "videos", "audio": "sounds"}
CHANGED = "prepare the data again with overwrite_cache: true"


@dataclass(frozen=True)
class Blind:
    """In place of a viewer where a model sees nothing; `reason` is told to whoever has pictures in his rows."""

    reason: str
    ids: tuple[int, ...] = ()

    def shown(self, conversation: Conversation) -> Conversation:
        """A conversation without media. Raises DataError for any other."""
        for medium in _media(conversation):
            raise DataError.one("DATA-MEDIA", f"the row has {PLURALS[medium.kind]}, but {self.reason}", "media")
        return conversation

    def fingerprint(self) -> str:
        """Nothing depends on it."""
        return "blind"

    def seen(self, ids: NDArray[np.int32], ends: NDArray[np.int64], media: Sequence[Media]) -> dict[str, Tensor]:
        """Nothing. Raises DataError where there are media."""
        if media:
            raise DataError.one("DATA-MEDIA", self.reason, _names(media))
        return {}


@dataclass(frozen=True)
class Viewer:
    """Pictures below `root`, as the model's own `processor` makes them. `token` is what stands for a piece of one.

    Picklable: worker processes measure with it, loader processes decode.
    """

    architecture: Architecture
    family: str
    token: int
    grounds: Grounds
    processor: Any
    root: Path

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens that stand for a piece of a picture."""
        return (self.token,)

    def fingerprint(self) -> str:
        """A hash of what the number of tokens depends on, but the pictures themselves."""
        parts = ["upright", self.family, str(self.root.resolve()), dict(self.grounds.words), dict(self.grounds.numbers)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def shown(self, conversation: Conversation) -> Conversation:
        """Every picture measured by its header and written as tokens. Raises DataError where it cannot be used."""
        if not any(True for _ in _media(conversation)):
            return conversation
        return replace(conversation, messages=tuple(self._message(one) for one in conversation.messages))

    def _message(self, message: Message) -> Message:
        parts = tuple(self._shown(part) if isinstance(part, Media) else part for part in message.parts)
        return replace(message, parts=parts)

    def _shown(self, medium: Media) -> Shown:
        if medium.kind != "image":
            raise DataError.one("DATA-MEDIA", f"the row has {PLURALS[medium.kind]}, which Hone cannot train on yet")
        try:
            found = measured(medium, self.root)
        except MediaFault as fault:
            raise DataError.one(fault.code, fault.what, "media") from None
        spans = expanded(self.family, "image", Picture(found.width, found.height), self.grounds)
        seeing = [place for place, span in enumerate(spans) if span.sees]
        return Shown(
            medium,
            "".join(span.text if span.sees else span.text * span.times for span in spans),
            tuple(spans[place].times for place in seeing),
            after=len(spans) - 1 - seeing[-1],
        )

    def seen(self, ids: NDArray[np.int32], ends: NDArray[np.int64], media: Sequence[Media]) -> dict[str, Tensor]:
        """Of a flattened row of T tokens whose S segments end at `ends`, and its pictures in their order:

        what the processor makes of them (`pixel_values` …), `media_of_segment` int64 [S], and where places are counted
        by grid `position_ids` int64 [4, 1, T]: as in text, and by time, row and column. A picture that is there several
        times is decoded once. Raises DataError where one is missing or damaged, or is no longer what its tokens were
        counted for.
        """
        import torch

        places: dict[Media, int] = {}
        order = [places.setdefault(medium, len(places)) for medium in media]
        pictures = [self._opened(medium) for medium in places]
        features: Mapping[str, Any] = (
            self.processor(images=[image for _, image in pictures], return_tensors="pt") if pictures else {}
        )
        counts = tokens_of(self.family, [size for size, _ in pictures], features, self.grounds)
        features, counts = _in_order(features, order), [counts[place] for place in order]
        starts = list(self._starts(ids, counts, media))
        segments = np.searchsorted(ends, np.array(starts, dtype=np.int64), side="right")
        made: dict[str, Any] = dict(features)
        made["media_of_segment"] = torch.from_numpy(np.bincount(segments, minlength=len(ends)).astype(np.int64))
        if self.architecture.places == "grid":
            made["position_ids"] = torch.from_numpy(self._places(ends, starts, segments, features))[:, None]
        return made

    def _opened(self, medium: Media) -> tuple[Picture, Any]:
        try:
            return opened(medium, self.root, self.grounds, rule_of(self.family))
        except MediaFault as fault:
            raise DataError.one(fault.code, fault.what, "media", "mend the file, or take its row out") from None

    def _starts(self, ids: NDArray[np.int32], counts: Sequence[int], media: Sequence[Media]) -> Iterator[int]:
        """Where each picture's first token stands. Raises DataError where tokens and pieces are not as many."""
        places = np.flatnonzero(ids == self.token)
        if len(places) != sum(counts):
            what = f"{len(places):,} tokens stand for pictures that make {sum(counts):,}; a picture has changed"
            raise DataError.one("MEDIA-CHANGED", what, _names(media), CHANGED)
        first = 0
        for count, medium in zip(counts, media, strict=True):
            run = places[first : first + count]
            if len(run) > 1 and not self._one_piece(run):
                raise DataError.one(
                    "MEDIA-CHANGED", "a picture has another size than before", _names([medium]), CHANGED
                )
            yield int(run[0])
            first += count

    def _one_piece(self, run: NDArray[np.int64]) -> bool:
        return self.architecture.places != "grid" or int(run[-1] - run[0]) == len(run) - 1

    def _places(
        self, ends: NDArray[np.int64], starts: Sequence[int], segments: NDArray[np.int64], features: Mapping[str, Any]
    ) -> NDArray[np.int64]:
        """[4, T]: places as in text, then by time, row and column."""
        merge = int(self.grounds.number("merge_size"))
        grids = [[int(side) // merge for side in grid[1:]] for grid in features.get("image_grid_thw", ())]
        rows = []
        for segment, (begin, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
            sights = [
                Sight(starts[place] - int(begin), *grids[place])
                for place in np.flatnonzero(segments == segment).tolist()
            ]
            length = int(end - begin)
            rows.append(np.concatenate([np.arange(length)[None], grid_places(length, sights)]))
        return np.concatenate(rows, axis=1)


def _in_order(features: Mapping[str, Any], order: Sequence[int]) -> Mapping[str, Any]:
    """What a processor made of pictures, for those that `order` names, which may name one several times."""
    import torch

    if list(order) == list(range(len(order))):
        return features
    grids = features.get("image_grid_thw")
    if grids is None:
        return {name: values[list(order)] for name, values in features.items()}
    patches = features["pixel_values"].split(grids.prod(-1).tolist())
    return {"pixel_values": torch.cat([patches[place] for place in order]), "image_grid_thw": grids[list(order)]}


def _media(conversation: Conversation) -> Iterator[Media]:
    for message in conversation.messages:
        yield from (part for part in message.parts if isinstance(part, Media))


def _names(media: Sequence[Media]) -> str:
    names = [Path(one.source).name[:80] for one in media if isinstance(one.source, str) and ":" not in one.source[:8]]
    return ", ".join(names[:5]) or "media"
