"""What every engine shares: prompts checked before they are taken on, and answers as an iterator of pieces."""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from hone.engines.base import Deliver, Odds, Piece, Settings, Ticket
from hone.engines.grammar import Grammars
from hone.engines.seen import Seen
from hone.errors import RecipeError

SLOTS, QUEUE = 32, 128
"""How many requests are answered at once, and how many more may wait, unless told otherwise."""


class Answering(ABC):
    """Continues prompts of ids below `vocabulary`."""

    name: str
    """What `infer_backend` calls it."""
    model: Any = None
    """The transformers model, of which hidden states can be asked; None for an engine without one."""
    sees = False
    """Whether a prompt may have pictures."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self.tokenizer, self.vocabulary = tokenizer, vocabulary
        self.grammars = Grammars(tokenizer, vocabulary)

    @property
    def alive(self) -> bool:
        """Whether it can answer at all; an engine in other processes may have lost them."""
        return True

    @property
    @abstractmethod
    def context(self) -> int | None:
        """How many tokens prompt and answer may have together, None when unknown."""

    @abstractmethod
    def submit_all(
        self,
        prompt: Sequence[int],
        settings: Sequence[Settings],
        deliver: Sequence[Deliver],
        seen: Seen | None = None,
    ) -> Sequence[Ticket]:
        """Several answers to one prompt, all taken on or none. Raises as `generate` does."""

    @abstractmethod
    def prompt_odds(self, prompt: Sequence[int], likeliest: int, adapter: str | None = None) -> Future[list[Odds]]:
        """What the model gives each token of a prompt after the first one. Raises QueueFullError."""

    def generate(self, prompt: Sequence[int], settings: Settings, seen: Seen | None = None) -> Iterator[Piece]:
        """One piece for each token, the stop id included. Raises PromptTooLongError and QueueFullError at once."""
        arrived: queue.SimpleQueue[Piece | Exception] = queue.SimpleQueue()
        return _pieces(self.submit(prompt, settings, arrived.put, seen), arrived)

    def submit(self, prompt: Sequence[int], settings: Settings, deliver: Deliver, seen: Seen | None = None) -> Ticket:
        """Take a request on; `deliver` is called from the engine's thread. Raises as `generate` does."""
        return self.submit_all(prompt, [settings], [deliver], seen)[0]

    def check_prompt(self, prompt: Sequence[int], seen: Seen | None = None) -> None:
        """Raises RecipeError for ids that the model does not have (they would end everybody's answers), and for
        pictures shown to an engine that sees none."""
        if not prompt or min(prompt) < 0 or max(prompt) >= self.vocabulary:
            raise RecipeError.one("PROMPT-IDS", f"a prompt is token ids from 0 to {self.vocabulary - 1}, at least one")
        if seen is not None and not self.sees:
            raise RecipeError.one("ENGINE-BLIND", "this engine answers to text alone")


def _pieces(ticket: Ticket, arrived: queue.SimpleQueue[Piece | Exception]) -> Iterator[Piece]:
    try:
        while True:
            news = arrived.get()
            if isinstance(news, Exception):
                raise news
            yield news
            if news.finish is not None:
                return
    finally:
        ticket.cancel()
