"""The built-in engine: any causal model of transformers, many requests at once, on whatever device it lies."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from hone.engines.base import Deliver, Piece, Settings
from hone.engines.board import Board
from hone.engines.grammar import Grammars
from hone.engines.layout import lay_out_for_decoding
from hone.engines.memory import Memory
from hone.engines.quick_board import QuickBoard
from hone.engines.request import Request
from hone.engines.sampling import Sampler
from hone.engines.scheduler import Scheduler
from hone.engines.threads import give_back_threads
from hone.models.speed.recognize import NotUnderstood

SLOTS, QUEUE = 32, 128
"""How many requests are answered at once, and how many more may wait, unless told otherwise."""


class TorchEngine:
    """Continues prompts with a transformers model, which it takes over: set to evaluation and laid out for decoding.

    `memory`: bytes that keys and values may take, None for half of what is free now.
    Adapters should be merged before (`hone.models.tuners`); a model that carries them still works, slower.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, slots: int = SLOTS, queue: int = QUEUE, memory: int | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        kept = Memory.of(self.model, memory)
        self.grammars = Grammars(tokenizer, self.model.config.get_text_config().vocab_size)
        self.scheduler = Scheduler(_board(self.model), kept, slots=slots, queue=queue)
        give_back_threads()

    @property
    def context(self) -> int | None:
        """`max_position_embeddings` of the language model's configuration."""
        found = getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        return int(found) if found else None

    def generate(self, prompt: Sequence[int], settings: Settings) -> Iterator[Piece]:
        """One piece for each token, the stop id included. Raises PromptTooLongError and QueueFullError at once."""
        arrived: queue.SimpleQueue[Piece | Exception] = queue.SimpleQueue()
        return _pieces(self.submit(prompt, settings, arrived.put), arrived)

    def submit(self, prompt: Sequence[int], settings: Settings, deliver: Deliver) -> Request:
        """Take a request on; `deliver` is called from the engine's thread. Raises as `generate` does."""
        return self.submit_all(prompt, [settings], [deliver])[0]

    def submit_all(
        self, prompt: Sequence[int], settings: Sequence[Settings], deliver: Sequence[Deliver]
    ) -> list[Request]:
        """Several answers to one prompt, all taken on or none. Raises as `generate` does."""
        requests = [self._request(prompt, one) for one in settings]
        for request, receiver in zip(requests, deliver, strict=True):
            request.deliver = receiver
        self.scheduler.add(*requests)
        return requests

    def aside(self, work: Callable[[], Any]) -> Future[Any]:
        """Something else to do with the model, between two steps, on the engine's thread. Raises QueueFullError."""
        return self.scheduler.aside(work)

    def _request(self, prompt: Sequence[int], settings: Settings) -> Request:
        """A request that waits for nothing but its turn. Raises PromptTooLongError, GrammarError."""
        guide = None
        if settings.grammar is not None:
            guide = self.grammars.guide(settings.grammar, settings.stop_ids, settings.grammar_after)
        vocabulary = self.model.config.get_text_config().vocab_size
        return Request(
            prompt,
            settings,
            room=settings.room(len(prompt), self.context),
            sampler=Sampler(settings, prompt, vocabulary, self.model.device, guide),
            tokenizer=self.tokenizer,
        )


def _board(model: Any) -> Board | QuickBoard:
    """By hand where the architecture is known and the numbers agree, else the model's own forward."""
    try:
        return QuickBoard(model)
    except (NotUnderstood, RuntimeError, AttributeError, TypeError, ValueError):
        lay_out_for_decoding(model)
        return Board(model)


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
