"""A request under way: what the model has not read yet, what may still come, and what is told to whoever asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hone.engines.base import Deliver, Finish, Piece, Settings
from hone.engines.detokenize import Detokenizer
from hone.engines.lora import Lora
from hone.engines.sampling import Sampler, odds
from hone.engines.seen import Seen


class StopText:
    """Looks for texts that end an answer; holds back what may be the beginning of one."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.held = ""

    def feed(self, text: str, *, ended: bool) -> tuple[str, bool]:
        """The text that is certain by now, and whether one of the words was found (it and the rest are left out)."""
        if not self.words:
            return text, False
        held = self.held + text
        found = min((place for word in self.words if (place := held.find(word)) >= 0), default=-1)
        if found >= 0:
            return held[:found], True
        keep = 0 if ended else max(_overlap(held, word) for word in self.words)
        self.held = held[len(held) - keep :]
        return held[: len(held) - keep], False


class Request:
    """One prompt and what follows. `cache` belongs to this request until it shares one with others."""

    def __init__(
        self,
        prompt: Sequence[int],
        settings: Settings,
        *,
        room: int,
        sampler: Sampler,
        tokenizer: Any,
        seen: Seen | None = None,
    ) -> None:
        self.unread: list[int] = list(prompt)
        self.settings = settings
        self.room = room
        self.most = len(prompt) + room
        """How many tokens it has when it ends, at the most."""
        self.sampler = sampler
        self.stops = frozenset(settings.stop_ids)
        self.text = Detokenizer(tokenizer, skip_special_tokens=settings.skip_special_tokens)
        self.stop_text = StopText(settings.stop)
        self.seen = seen
        """Its pictures, until they are read."""
        self.shift = seen.shift if seen is not None else 0
        self.lora: Lora | None = None
        self.cache: Any = None
        self.deliver: Deliver | None = None
        self.cancelled = False
        self.failed = False
        self.finish: Finish | None = None

    def part(self, most: int) -> int:
        """How many tokens are read next where so many may be: pictures and their prompt are read as a whole."""
        return len(self.unread) if self.seen is not None else min(most, len(self.unread))

    def cancel(self) -> None:
        """Nobody wants the rest."""
        self.cancelled = True

    def take(self, logits: Tensor) -> Piece:
        """Choose the next token from logits of shape [vocabulary]; what to tell. Raises NumericError."""
        token = self.sampler(logits)
        self.unread = [token]
        self.room -= 1
        if token in self.stops or self.sampler.done:
            self.finish = "stop"
        elif self.room == 0:
            self.finish = "length"
        new = self.text.feed([token]) if token not in self.stops else ""
        new += self.text.close() if self.finish else ""
        shown, found = self.stop_text.feed(new, ended=self.finish is not None)
        if found:
            self.finish = "stop"
        wanted = self.settings.logprobs
        told = () if wanted is None else (odds(logits, token, wanted),)
        return Piece((token,), shown, self.finish, told)

    def tell(self, news: Piece | Exception) -> None:
        """Hand it over; a receiver that is gone is one that cancelled."""
        if self.cancelled or self.deliver is None:
            return
        try:
            self.deliver(news)
        except RuntimeError:  # the event loop of the receiver is closed
            self.cancelled = True


def _overlap(text: str, word: str) -> int:
    """How many of the last letters may be the beginning of the word."""
    return next((size for size in range(min(len(word) - 1, len(text)), 0, -1) if text.endswith(word[:size])), 0)
