"""The engine of GGUF files: llama.cpp computes, everything else is that of the built-in engine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hone.engines.base import Odds
from hone.engines.boarded import QUEUE, SLOTS, BoardEngine
from hone.engines.llamacpp.board import LlamaBoard
from hone.engines.llamacpp.model import MOST_SEQUENCES, LlamaContext, LlamaModel
from hone.engines.llamacpp.sequences import Sequences
from hone.engines.memory import free_memory
from hone.engines.scheduler import Scheduler
from hone.engines.threads import give_back_threads
from hone.log import say, warn

SPARE = 8
"""Sequences beside those under way, for what ended and may be asked on."""
CELLS = 32768
"""Tokens that all requests may have together at the most, unless told otherwise: llama.cpp takes their room at once."""
PROBE = "Hello, 12345 geese\n\n  don't   fly at 7.5 km/h. Äpfel, naïve; 你好，世界。 Привет 🙂 def f(x):\n\treturn x**2"
"""A text that our tokenizer and llama.cpp's own should read alike."""


@dataclass(frozen=True)
class Room:
    """How many tokens the context holds in all."""

    cells: int

    def holds(self, lengths: Sequence[int]) -> bool:
        """Whether requests of so many tokens at the most fit side by side; a single one is always let in."""
        return len(lengths) == 1 or sum(lengths) <= self.cells


class LlamaEngine(BoardEngine):
    """Continues prompts with a GGUF file. `cells`: tokens of all requests together; None for as many as half of the
    free memory holds, CELLS at the most. `numbers`: the format of keys and values. `card` False: no card is used.

    Raises ModelError for a file that llama.cpp does not take, MachineError where llama.cpp or the memory is missing.
    """

    name = "llamacpp"

    def __init__(
        self,
        path: Path,
        tokenizer: Any,
        *,
        slots: int = SLOTS,
        queue: int = QUEUE,
        cells: int | None = None,
        numbers: str | None = None,
        card: bool = True,
    ) -> None:
        model = LlamaModel(path, card=card)
        _check_words(model, tokenizer)
        at_once = min(slots, MOST_SEQUENCES - SPARE)
        spare = SPARE if model.cuttable else 1
        cells = cells or _cells(model, at_once, double=numbers == "float32")
        threads = torch.get_num_threads()
        context = LlamaContext(model, cells=cells, sequences=at_once + spare, threads=threads, numbers=numbers)
        self._context = min(model.trained_context, context.cells)
        if self._context < model.trained_context:
            say(f"llama.cpp keeps {context.cells:,} tokens; the model was made for {model.trained_context:,}")
        sequences = Sequences(context, at_once + spare, context.cells, reuse=model.cuttable)
        self.board = LlamaBoard(context, sequences)
        scheduler = Scheduler(self.board, Room(context.cells), slots=at_once, queue=queue + slots - at_once)
        super().__init__(scheduler, tokenizer, model.vocabulary, torch.device("cpu"))
        give_back_threads()

    @property
    def context(self) -> int:
        """What the model was made for, or what llama.cpp keeps, whichever is less."""
        return self._context

    def prompt_odds(self, prompt: Sequence[int], likeliest: int, adapter: str | None = None) -> Future[list[Odds]]:
        """What the model gives each token of a prompt after the first one. Raises QueueFullError."""
        return self.aside(lambda: self.board.prompt_odds(prompt, likeliest))


def _cells(model: LlamaModel, slots: int, *, double: bool) -> int:
    """As many tokens as half of the free memory holds, but no more than are of use."""
    token = model.bytes_per_token * (2 if double else 1)
    held = free_memory(torch.device("cpu")) // 2 // max(token, 1)
    return max(min(CELLS, slots * model.trained_context, held), 512)


def _check_words(model: LlamaModel, tokenizer: Any) -> None:
    """Whether texts are cut as llama.cpp cuts them; where not, a warning says so."""
    if tokenizer.encode(PROBE, add_special_tokens=False) != model.ids_of(PROBE):
        warn("the file's tokenizer as transformers reads it cuts a text otherwise than llama.cpp does")
