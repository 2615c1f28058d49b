"""The board of GGUF files: one batch of llama.cpp for all that is asked in a step, prompts and answers alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hone.engines.base import Odds
from hone.engines.llamacpp.model import LlamaContext
from hone.engines.llamacpp.sequences import Sequences
from hone.engines.request import Request
from hone.engines.sampling import odds


class LlamaBoard:
    """Each request has a sequence of its own in the context; what begins alike is read once."""

    def __init__(self, context: LlamaContext, sequences: Sequences) -> None:
        self.context, self.sequences = context, sequences
        self.sequence_of: dict[Request, int] = {}

    def begin(self, request: Request) -> None:
        """A sequence for a request; what another prompt has read of the same beginning is not read again."""
        sequence, kept = self.sequences.take(request.unread)
        self.sequence_of[request] = sequence
        request.unread = request.unread[kept:]

    def tick(
        self, running: Sequence[Request], reading: Sequence[tuple[Request, int]]
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Logits [vocabulary] after the next token of each running request, and after each prompt that is now read.

        Of each prompt so many tokens are read at most; None where some are left.
        """
        parts = [*((request, 1) for request in running), *reading]
        ids: list[int] = []
        places: list[int] = []
        owners: list[int] = []
        wanted: list[bool] = []
        self.sequences.make_room(sum(most for _, most in parts))
        for request, most in parts:
            sequence = self.sequence_of[request]
            have = self.sequences.ids[sequence]
            part, request.unread = request.unread[:most], request.unread[most:]
            ids += part
            places += range(len(have), len(have) + len(part))
            owners += [sequence] * len(part)
            wanted += [False] * (len(part) - 1) + [not request.unread]
            have += part
        rows = iter(self.context.read(ids, places, owners, wanted))
        stepped = [next(rows) for _ in running]
        return stepped, [None if request.unread else next(rows) for request, _ in reading]

    def remove(self, request: Request) -> None:
        """Forget a request that ended; what it read stays until its sequence or its cells are needed."""
        sequence = self.sequence_of.pop(request, None)
        if sequence is not None:
            self.sequences.leave(sequence)

    def clear(self) -> None:
        """Forget everything, after a step that failed halfway."""
        self.sequence_of = {}
        self.context.clear()
        self.sequences.clear()

    @torch.inference_mode()
    def prompt_odds(self, prompt: Sequence[int], likeliest: int) -> list[Odds]:
        """What the model gives each token after the first one, with so many of the likeliest in its place."""
        sequence, _ = self.sequences.take(prompt[:1])
        try:
            found: list[Odds] = []
            for start in range(0, len(prompt) - 1, self.context.most_rows):
                part = list(prompt[start : min(start + self.context.most_rows, len(prompt) - 1)])
                self.sequences.make_room(len(part))
                places = range(start, start + len(part))
                rows = self.context.read(part, places, [sequence] * len(part), [True] * len(part))
                self.sequences.ids[sequence] += part
                found += [odds(row, token, likeliest) for row, token in zip(rows, prompt[start + 1 :], strict=False)]
            return found
        finally:
            self.sequences.leave(sequence)
