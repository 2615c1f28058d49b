"""An answer that vLLM writes: its tokens become pieces of text, until it ends or nobody wants the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hone.engines.base import Deliver, Finish, Odds, Piece, Settings
from hone.engines.detokenize import Detokenizer
from hone.engines.request import StopText

LOOKED_AT = 16
"""Last tokens in which the words are looked for behind which a grammar begins."""


class Answer:
    """One prompt and what follows, `room` tokens at the most. `adapter`: vLLM's own name for it, None without one."""

    def __init__(
        self,
        prompt: Sequence[int],
        settings: Settings,
        deliver: Deliver,
        *,
        room: int,
        tokenizer: Any,
        adapter: Any = None,
    ) -> None:
        self.ids = list(prompt)
        """What was asked and said so far."""
        self.settings, self.deliver, self.room, self.adapter = settings, deliver, room, adapter
        self.tokenizer = tokenizer
        self.text = Detokenizer(tokenizer, skip_special_tokens=settings.skip_special_tokens)
        self.stop_text = StopText(settings.stop)
        self.after = settings.grammar_after
        self.begun = False
        self.cancelled = False
        self.finish: Finish | None = None
        self.give_up: Callable[[], object] | None = None

    @property
    def held(self) -> bool:
        """Whether what comes next must follow the grammar."""
        return self.settings.grammar is not None and not self.after

    @property
    def stops(self) -> frozenset[int]:
        """The ids that end it; vLLM ends what follows a grammar with the tokenizer's own."""
        own = self.tokenizer.eos_token_id
        return frozenset((*self.settings.stop_ids, own) if self.held and own is not None else self.settings.stop_ids)

    def take(self, token: int, odds: Odds | None) -> Piece:
        """The next token; what to tell."""
        stops = self.stops
        self.ids.append(token)
        self.room -= 1
        self.begun = True
        if token in stops:
            self.finish = "stop"
        elif self.room == 0:
            self.finish = "length"
        new = self.text.feed([token]) if token not in stops else ""
        new += self.text.close() if self.finish else ""
        shown, found = self.stop_text.feed(new, ended=self.finish is not None)
        if found:
            self.finish = "stop"
        if self.after and self.after in self.tokenizer.decode(self.text.ids[-LOOKED_AT:]):
            self.after = ""
        return Piece((token,), shown, self.finish, () if odds is None else (odds,))

    def tell(self, news: Piece | Exception) -> None:
        """Hand it over; a receiver that is gone is one that cancelled."""
        if self.cancelled:
            return
        try:
            self.deliver(news)
        except RuntimeError:  # the event loop of the receiver is closed
            self.cancelled = True

    def cancel(self) -> None:
        """Nobody wants the rest."""
        self.cancelled = True
        if self.give_up is not None:
            self.give_up()


def odds_of(token: int, told: Any, likeliest: int) -> Odds:
    """From vLLM's table of a place: by id, each with its log-probability and its rank."""
    ranked = sorted(told.items(), key=lambda one: one[1].rank)[:likeliest]
    return Odds(token, float(told[token].logprob), tuple((int(one), float(entry.logprob)) for one, entry in ranked))
