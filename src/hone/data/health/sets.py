"""One set's health, put together from what was seen of all sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hone.data.health.lengths import Lengths
from hone.data.health.survey import Survey
from hone.data.health.twins import Twins


@dataclass(frozen=True)
class SetHealth:
    """One set. `near_duplicates`: (row, an earlier row like it); `like_train`: rows of an evaluation set that are like
    a row trained on; `benchmark_rows`: rows that hold a benchmark's question;
    `unusable_media`: (row, what is wrong with one of its media); `unseen`: why media cannot be trained on, if so."""

    name: str
    evaluated: bool
    lengths: Lengths
    records: int
    thinking: int
    broken: int
    disordered: tuple[int, ...] = ()
    equal_pairs: tuple[int, ...] = ()
    liked: int = 0
    disliked: int = 0
    near_duplicates: tuple[tuple[int, int], ...] = ()
    like_train: tuple[int, ...] = ()
    benchmark_rows: tuple[int, ...] = ()
    media: Mapping[str, int] = field(default_factory=dict)
    unusable_media: tuple[tuple[int, str], ...] = ()
    unseen: str = ""


def sets_of(surveys: Sequence[Survey], twins: Twins, trained: int, cutoff_len: int) -> list[SetHealth]:
    near, like_train = _placed(surveys, twins, trained)
    return [
        SetHealth(
            name=one.name,
            evaluated=place >= trained,
            lengths=Lengths.of(one.lengths, cutoff_len),
            records=one.records,
            thinking=one.thinking,
            broken=one.broken,
            disordered=tuple(one.disordered),
            equal_pairs=tuple(one.equal_pairs),
            liked=one.liked,
            disliked=one.disliked,
            near_duplicates=tuple(near.get(place, ())),
            like_train=tuple(like_train.get(place, ())),
            benchmark_rows=tuple(one.asked),
            media=dict(one.media),
            unusable_media=tuple(one.unusable),
            unseen=one.unseen if one.media else "",
        )
        for place, one in enumerate(surveys)
    ]


def _placed(
    surveys: Sequence[Survey], twins: Twins, trained: int
) -> tuple[Mapping[int, list[tuple[int, int]]], Mapping[int, list[int]]]:
    """The pairs by set: (row, earlier row) within a set, and rows of evaluation sets that are like a trained one."""
    owner = [(place, row) for place, one in enumerate(surveys) for row in one.numbers]
    near: dict[int, list[tuple[int, int]]] = {}
    like_train: dict[int, list[int]] = {}
    for pair in twins.pairs():
        (place, row), (other, earlier) = owner[pair.later], owner[pair.earlier]
        if place == other:
            near.setdefault(place, []).append((row, earlier))
        elif place >= trained > other:
            like_train.setdefault(place, []).append(row)
    return near, like_train
