"""What engines on a board share: requests taken on, sampled and scheduled alike, whatever gives the logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import torch

from hone.engines.answering import QUEUE, SLOTS, Answering
from hone.engines.base import Deliver, Settings
from hone.engines.request import Request
from hone.engines.sampling import Sampler
from hone.engines.scheduler import Scheduler
from hone.engines.seen import Seen

__all__ = ["QUEUE", "SLOTS", "BoardEngine"]


class BoardEngine(Answering):
    """Continues prompts with what the scheduler's board computes: logits [vocabulary] on `device`."""

    def __init__(self, scheduler: Scheduler, tokenizer: Any, vocabulary: int, device: torch.device) -> None:
        super().__init__(tokenizer, vocabulary)
        self.scheduler, self.device = scheduler, device

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
        """A request that waits for nothing but its turn. Raises PromptTooLongError, GrammarError, RecipeError."""
        self.check_prompt(prompt, seen)
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
