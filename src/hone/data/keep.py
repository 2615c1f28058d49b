"""What a limit keeps of a conversation: its turns, cut where they cross it, and the media that stay whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hone.data.stage import Limits
from hone.dialogue.example import TokenIds
from hone.dialogue.message import Conversation, Media
from hone.dialogue.sight import shown_in

Kept = tuple[TokenIds, TokenIds, bool, bool]
"""What is kept of a turn: given, answered, whether the answer is learned, and whether its end is kept."""


def kept_lengths(source: int, target: int, limit: int) -> tuple[int, int]:
    """How many tokens of a question and of its answer stay when both may have `limit` tokens.

    A short side is kept whole and the other gets the rest; two long sides share in proportion.
    """
    if source + target == 0:
        return 0, 0
    if target * 2 < limit:
        room = limit
    elif source * 2 < limit:
        room = limit - source
    else:
        room = limit * target // (source + target)
    target = min(target, room)
    return min(source, max(limit - target, 0)), target


class Walked(NamedTuple):
    """What is kept of a conversation, turn by turn, with its media, and how many tokens that cost: of all, and of
    answers that would have been learned."""

    kept: list[Kept]
    media: tuple[Media, ...] = ()
    lost: int = 0
    lost_learned: int = 0


def walk(turns: Any, conversation: Conversation, encoder: Any, limits: Limits, end: int) -> Walked:
    """All of the turns where they are below the limit with the `end` tokens that follow them, as most are."""
    learned = _learned(conversation, limits)
    if end + sum([len(source) + len(target) for source, target in turns]) >= limits.cutoff_len:
        return _cut(turns, learned, sights_of(turns, conversation, encoder), limits, end)
    kept = [(source, target, learn, True) for (source, target), learn in zip(turns, learned, strict=True)]
    return Walked(kept, tuple([shown.medium for shown in shown_in(conversation)]))


def _cut(turns: Any, learned: Sequence[bool], sights: Sequence[Sight], limits: Limits, end: int) -> Walked:
    """Walk the turns, in order or from the last, until the limit is reached; cut the turn that crosses it.

    A turn that would lose a part of a medium is left out, and so are those behind it: no answer is learned without
    what it is about.
    """
    order = range(len(turns) - 1, -1, -1) if limits.mask_history else range(len(turns))
    pieces: dict[int, Kept] = {}
    used, lost, lost_learned = end, 0, 0
    for turn in order:
        (source, target), learn = turns[turn], learned[turn]
        kept_source, kept_target = (
            (0, 0) if used >= limits.cutoff_len else kept_lengths(len(source), len(target), limits.cutoff_len - used)
        )
        if splits(sights[turn], kept_source, kept_target):
            kept_source, kept_target, used = 0, 0, limits.cutoff_len
        lost += len(source) + len(target) - kept_source - kept_target
        lost_learned += (len(target) - kept_target) * learn
        if used >= limits.cutoff_len:
            continue
        used += kept_source + kept_target
        pieces[turn] = (source[:kept_source], target[:kept_target], learn, kept_target == len(target))
    kept = sorted(pieces)
    media = tuple([one for turn in kept for one in sights[turn].media])
    return Walked([pieces[turn] for turn in kept], media, lost, lost_learned)


class Sight(NamedTuple):
    """The media of a turn, and how many tokens of its two sides must be kept for all of them to be whole."""

    media: tuple[Media, ...] = ()
    source: int = 0
    target: int = 0


def sights_of(turns: Any, conversation: Conversation, encoder: Any) -> list[Sight]:
    waiting = list(shown_in(conversation))
    if not waiting:
        return [Sight()] * len(turns)
    sights = []
    for sides in turns:
        media: list[Media] = []
        ends = []
        for places in (np.flatnonzero(encoder.sees(side)) for side in sides):
            seen = end = 0
            while seen < len(places):
                shown = waiting.pop(0)
                media.append(shown.medium)
                seen += sum(shown.times)
                end = int(places[seen - 1]) + 1 + shown.after
            ends.append(end)
        sights.append(Sight(tuple(media), *ends))
    return sights


def splits(sight: Sight, source: int, target: int) -> bool:
    """Whether a medium would not be whole where so many tokens of the two sides are kept."""
    return source < sight.source or target < sight.target


def _learned(conversation: Conversation, limits: Limits) -> list[bool]:
    """Whether each answer is learned: as its message says, or else the last one only where the history is masked."""
    wishes = [message.learn for message in conversation.messages if message.role == "assistant"]
    last = len(wishes) - 1
    return [
        bool(wish) if wish is not None else not limits.mask_history or place == last
        for place, wish in enumerate(wishes)
    ]
