"""What engines on a board share: requests taken on, sampled and scheduled alike, whatever gives the logits."""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import torch

from hone.engines.base import Deliver, Piece, Settings
from hone.engines.grammar import Grammars
from hone.engines.request import Request
from hone.engines.sampling import Sampler
from hone.engines.scheduler import Scheduler
from hone.engines.seen import Seen
from hone.errors import RecipeError

SLOTS, QUEUE = 32, 128
"""How many requests are answered at once, and how many more may wait, unless told otherwise."""


class BoardEngine(ABC):
    """Continues prompts with what the scheduler's board computes: logits [vocabulary] on `device`."""

    model: Any = None
    """The transformers model, of which hidden states can be asked; None for an engine without one."""
    sees = False
    """Whether a prompt may have pictures."""

    def __init__(self, scheduler: Scheduler, tokenizer: Any, vocabulary: int, device: torch.device) -> None:
        self.scheduler, self.tokenizer = scheduler, tokenizer
        self.vocabulary, self.device = vocabulary, device
        self.grammars = Grammars(tokenizer, vocabulary)

    @property
    @abstractmethod
    def context(self) -> int | None:
        """How many tokens prompt and answer may have together, None when unknown."""

    def generate(self, prompt: Sequence[int], settings: Settings, seen: Seen | None = None) -> Iterator[Piece]:
        """One piece for each token, the stop id included. Raises PromptTooLongError and QueueFullError at once."""
        arrived: queue.SimpleQueue[Piece | Exception] = queue.SimpleQueue()
        return _pieces(self.submit(prompt, settings, arrived.put, seen), arrived)

    def submit(self, prompt: Sequence[int], settings: Settings, deliver: Deliver, seen: Seen | None = None) -> Request:
        """Take a request on; `deliver` is called from the engine's thread. Raises as `generate` does."""
        return self.submit_all(prompt, [settings], [deliver], seen)[0]

    def submit_all(
        self,
        prompt: Sequence[int],
        settings: Sequence[Settings],
        deliver: Sequence[Deliver],
        seen: Seen | None = None,
    ) -> list[Request]:
        """Several answers to one prompt, all taken on or none. Raises as `generate` does."""
        requests = [self._request(prompt, one, seen) for one in settings]
        for request, receiver in zip(requests, deliver, strict=True):
            request.deliver = receiver
        self.scheduler.add(*requests)
        return requests

    def aside(self, work: Callable[[], Any]) -> Future[Any]:
        """Something else to do with the model, between two steps, on the engine's thread. Raises QueueFullError."""
        return self.scheduler.aside(work)

    def _request(self, prompt: Sequence[int], settings: Settings, seen: Seen | None = None) -> Request:
        """A request that waits for nothing but its turn. Raises PromptTooLongError, GrammarError, and RecipeError for
        ids that the model does not have: they would end everybody's answers."""
        if not prompt or min(prompt) < 0 or max(prompt) >= self.vocabulary:
            raise RecipeError.one("PROMPT-IDS", f"a prompt is token ids from 0 to {self.vocabulary - 1}, at least one")
        if seen is not None and not self.sees:
            raise RecipeError.one("ENGINE-BLIND", "this engine answers to text alone")
        guide = None
        if settings.grammar is not None:
            guide = self.grammars.guide(settings.grammar, settings.stop_ids, settings.grammar_after)
        return Request(
            prompt,
            settings,
            room=settings.room(len(prompt), self.context),
            sampler=Sampler(settings, prompt, self.vocabulary, self.device, guide),
            tokenizer=self.tokenizer,
            seen=seen,
        )


def _pieces(request: Request, arrived: queue.SimpleQueue[Piece | Exception]) -> Iterator[Piece]:
    try:
        while True:
            news = arrived.get()
            if isinstance(news, Exception):
                raise news
            yield news
            if news.finish is not None:
                return
    finally:
        request.cancel()
