"""The board of known architectures: one forward by hand for all that is asked in a step, prompts and answers alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hone.engines.decoder import Decoder
from hone.engines.lora import Lora
from hone.engines.own_forward import OwnForward
from hone.engines.planned import Part
from hone.engines.request import Request
from hone.errors import ModelError
from hone.models.speed.recognize import NotUnderstood

CLOSE = 2e-3
"""How far its logits may be from the model's own, relative to the largest (float32); half precision: 20 times."""
PROBE = ([3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5], [8, 9, 7, 9, 3])


class QuickBoard:
    """Requests in slots; each tick is one forward. Raises NotUnderstood where the model is not known or disagrees."""

    def __init__(self, model: Any, own: OwnForward) -> None:
        self.own = own
        with torch.inference_mode():
            self.decoder = Decoder(model)
            self.slots = self.decoder.slots()
            self.slot_of: dict[Request, int] = {}
            self._prove(None)

    def tick(
        self, running: Sequence[Request], reading: Sequence[tuple[Request, int]]
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Logits [vocabulary] after the next token of each running request, and after each prompt that is now read.

        Of each prompt so many tokens are read at most; None where some are left.
        """
        singles = [self._part(request, 1) for request in running]
        pieces = [self._part(request, most) for request, most in reading]
        logits = self.decoder(singles, pieces, self.slots)
        for part in (*singles, *pieces):
            self.slots.ids[part.slot] += part.ids
        read = [
            None if request.unread else row for (request, _), row in zip(reading, logits[len(running) :], strict=True)
        ]
        return list(logits[: len(running)]), read

    def begin(self, request: Request) -> None:
        """A slot for a request; what another prompt has read of the same beginning is not read again."""
        slot, kept = self.slots.take(
            request.unread, len(request.unread) - 1, request.lora.number if request.lora else 0
        )
        self.slot_of[request] = slot
        request.unread = request.unread[kept:]

    def remove(self, request: Request) -> None:
        """Forget a request that ended; what it read stays until its slot is taken."""
        slot = self.slot_of.pop(request, None)
        if slot is None:
            return
        moved = self.slots.leave(slot)
        for other, place in self.slot_of.items():
            if place == moved:
                self.slot_of[other] = slot

    def admit(self, lora: Lora) -> None:
        """Take an adapter on that the model's own forward knows, if both then give the same. Raises ModelError."""
        try:
            self.decoder.mixer.admit(lora)
            self._prove(lora)
        except NotUnderstood as reason:
            what = f"this adapter cannot share a batch: {reason}"
            raise ModelError.one("ADAPTER-BATCH", what, "", "serve it alone, without a name") from None

    def forget(self, lora: Lora) -> None:
        """Nothing of an adapter is kept that no request has any more."""
        self.decoder.forget(lora)

    def clear(self) -> None:
        """Forget everything, after a step that failed halfway."""
        self.slot_of = {}
        self.slots.clear()

    def _part(self, request: Request, most: int) -> Part:
        slot = self.slot_of[request]
        ids, request.unread = list(request.unread[:most]), request.unread[most:]
        return Part(slot, len(self.slots.ids[slot]), ids, request.lora)

    def _prove(self, lora: Lora | None) -> None:
        """Prompts of different lengths side by side, then a token more of each, against the model's own forward.

        The first and the last have the adapter, the second has none.
        """
        loras = [lora, None, lora]
        vocabulary = len(self.decoder.embedding)
        slots = self.decoder.slots()
        slots.make_room(len(PROBE), 1)
        prompts = [[token % vocabulary for token in prompt] for prompt in PROBE]
        rows = list(zip(range(len(PROBE)), prompts, loras, strict=True))
        self.decoder([], [Part(place, 0, prompt, one) for place, prompt, one in rows], slots)
        found = self.decoder([Part(place, len(prompt), [1], one) for place, prompt, one in rows], [], slots)
        expected = torch.stack([self._expected([*prompt, 1], one) for _, prompt, one in rows])
        far = (found - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
        if not far <= CLOSE * (1 if expected.dtype == torch.float32 else 20):
            raise NotUnderstood("its own forward gives other numbers")

    def _expected(self, ids: Sequence[int], lora: Lora | None) -> Tensor:
        with self.own.rows([lora], len(ids)):
            logits: Tensor = self.own.model(torch.tensor([ids])).logits[0, -1]
        return logits
