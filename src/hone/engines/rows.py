"""Many prompts, each with a number, answered by an engine side by side; answers come as they are finished."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hone.engines.base import Engine, Finish, Piece, Settings, Ticket


@dataclass(frozen=True)
class RowAnswer:
    """What was answered to row `row`: the ids (the stop id left out), and why it ended."""

    row: int
    ids: tuple[int, ...]
    finish: Finish


def answer_rows(
    engine: Engine, prompts: Mapping[int, Sequence[int]], settings: Settings, *, side_by_side: int
) -> Iterator[RowAnswer]:
    """Long prompts first, so that no long one is left for the end. Each row draws by a seed of its own
    (`settings.seed` and its number): what it draws depends neither on its neighbours nor on where a run was taken up.

    Closing the iterator cancels what is under way.
    """
    arrived: queue.SimpleQueue[tuple[int, Piece | Exception]] = queue.SimpleQueue()
    waiting = iter(sorted(prompts, key=lambda row: (-len(prompts[row]), row)))
    under_way: dict[int, tuple[Ticket, list[int]]] = {}

    def take_on() -> bool:
        row = next(waiting, None)
        if row is None:
            return False
        own = settings if settings.seed is None else replace(settings, seed=settings.seed + row)
        ticket = engine.submit(prompts[row], own, lambda news, row=row: arrived.put((row, news)))  # type: ignore[misc]
        under_way[row] = (ticket, [])
        return True

    try:
        while len(under_way) < side_by_side and take_on():
            pass
        while under_way:
            row, news = arrived.get()
            if isinstance(news, Exception):
                raise news
            under_way[row][1].extend(news.ids)
            if news.finish is None:
                continue
            ids = under_way.pop(row)[1]
            take_on()
            ended = news.finish == "stop" and ids and ids[-1] in settings.stop_ids
            yield RowAnswer(row, tuple(ids[:-1] if ended else ids), news.finish)
    finally:
        for ticket, _ in under_way.values():
            ticket.cancel()
