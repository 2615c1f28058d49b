"""Media in token form: what writes them so, and the tokens that stand for them repeated as often as they must."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hone.dialogue.example import TokenIds
from hone.dialogue.message import Conversation, Media, Shown
from hone.errors import DataError

Sides = tuple[TokenIds, TokenIds]
"""What is given and what is answered, int32 each."""


class Viewer(Protocol):
    """What writes media as tokens; `ids` are the tokens that stand for a piece of a medium."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Those tokens."""
        ...

    def shown(self, conversation: Conversation) -> Conversation:
        """The conversation with every medium a `Shown`. Raises DataError where one cannot be."""
        ...

    def seen(self, ids: TokenIds, ends: NDArray[np.int64], media: Sequence[Media]) -> Mapping[str, Any]:
        """What the model is given beside these ids, whose segments end at `ends`, for the media among them, in order.
        Raises DataError where one cannot be opened."""
        ...

    def fingerprint(self) -> str:
        """A hash of all that the tokens depend on, but the media."""
        ...


def shown_in(conversation: Conversation) -> tuple[Shown, ...]:
    """The media of a conversation that are written as tokens, in order."""
    return tuple([part for message in conversation.messages for part in message.parts if isinstance(part, Shown)])


def repeated(
    turns: Sequence[Sides], shown: Sequence[Shown], sees: Callable[[TokenIds], NDArray[np.bool_]]
) -> list[Sides]:
    """Turns in which every token that stands for a medium stands once, with each as often as its medium says.

    Raises DataError where the turns hold more or fewer such tokens than were written.
    """
    wanted = [times for one in shown for times in one.times]
    masks = [sees(side) for turn in turns for side in turn]
    found = sum(int(mask.sum()) for mask in masks)
    if found != len(wanted):
        what = f"{len(wanted)} tokens were written for media and {found} stand in the conversation"
        raise DataError.one("DATA-MEDIA", what, "media", "put media into what is asked or answered")
    waiting, made = iter(wanted), []
    for side, mask in zip((side for turn in turns for side in turn), masks, strict=True):
        times = np.ones(len(side), dtype=np.int64)
        times[mask] = [next(waiting) for _ in range(int(mask.sum()))]
        made.append(np.repeat(side, times))
    return list(zip(made[::2], made[1::2], strict=True))
