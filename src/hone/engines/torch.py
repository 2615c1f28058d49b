"""The built-in engine: any causal model of transformers, many requests at once, on whatever device it lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from hone.engines.adapters import Adapters
from hone.engines.base import Odds, Settings
from hone.engines.board import Board
from hone.engines.boarded import QUEUE, SLOTS, BoardEngine
from hone.engines.layout import lay_out_for_decoding
from hone.engines.memory import Memory
from hone.engines.own_forward import OwnForward
from hone.engines.quick_board import QuickBoard
from hone.engines.readings import prompt_odds
from hone.engines.request import Request
from hone.engines.scheduler import Scheduler
from hone.engines.seen import Seen
from hone.engines.threads import give_back_threads
from hone.engines.thrift import keep_few_kernels
from hone.models.speed.recognize import NotUnderstood

__all__ = ["QUEUE", "SLOTS", "TorchEngine"]


class TorchEngine(BoardEngine):
    """Continues prompts with a transformers model, which it takes over: set to evaluation and laid out for decoding.

    `memory`: bytes that keys and values may take, None for half of what is free now.
    Adapters should be merged before (`hone.models.tuners`); a model that carries them still works, slower.
    """

    name = "huggingface"

    def __init__(
        self, model: Any, tokenizer: Any, *, slots: int = SLOTS, queue: int = QUEUE, memory: int | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.own = OwnForward(self.model)
        keep_few_kernels()
        board = _board(self.model, self.own)
        kept = Memory.of(self.model, memory)
        if isinstance(board, QuickBoard):
            board.slots.room = kept.tokens
        scheduler = Scheduler(board, kept, slots=slots, queue=queue)
        super().__init__(scheduler, tokenizer, self.model.config.get_text_config().vocab_size, self.model.device)
        self.sees = isinstance(board, Board)
        self.adapters = Adapters(self.own, board, self.aside)
        give_back_threads()

    @property
    def context(self) -> int | None:
        """`max_position_embeddings` of the language model's configuration."""
        found = getattr(self.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        return int(found) if found else None

    def aside(self, work: Callable[[], Any], adapter: str | None = None) -> Future[Any]:
        """As every engine's; the model's own forward has the adapter of this name meanwhile."""
        lora = self.adapters.named(adapter)

        def with_adapter() -> Any:
            with self.own.rows([lora], 1):
                return work()

        return super().aside(with_adapter)

    def prompt_odds(self, prompt: Sequence[int], likeliest: int, adapter: str | None = None) -> Future[list[Odds]]:
        """What the model gives each token of a prompt after the first one. Raises QueueFullError."""
        return self.aside(lambda: prompt_odds(self.model, prompt, likeliest), adapter)

    def _request(self, prompt: Sequence[int], settings: Settings, seen: Seen | None = None) -> Request:
        """Raises UnknownAdapterError too."""
        lora = self.adapters.named(settings.adapter)
        request = super()._request(prompt, settings, seen)
        request.lora = lora
        return request


def _board(model: Any, own: OwnForward) -> Board | QuickBoard:
    """By hand where the architecture is known and the numbers agree, else the model's own forward."""
    try:
        return QuickBoard(model, own)
    except (NotUnderstood, RuntimeError, AttributeError, TypeError, ValueError):
        lay_out_for_decoding(model)
        return Board(model, own)
