"""The requests that are being answered, and one more token for each: in one batch where the model allows it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from hone.engines.cache import roomy_cache, whole_cache
from hone.engines.joint import JointCache
from hone.engines.lora import Lora
from hone.engines.own_forward import OwnForward
from hone.engines.request import Request
from hone.engines.seen import PLACES, Seen
from hone.errors import ModelError

CLOSE = 2e-3
"""How far logits of one batch may be from those alone, relative to the largest (float32); half precision: 20 times."""
PROBE = ([3, 1, 4, 1, 5], [9, 2, 6, 5, 3, 5, 8, 9, 7], [9, 3])
"""Prompts of different lengths; the model must give each the same alone and beside the others."""


class Board:
    """Runs a model over requests. A single one keeps its own cache; from the second on they share one, if a probe shows
    that the model then computes the same for each (else one after the other, a token at a time)."""

    def __init__(self, model: Any, own: OwnForward) -> None:
        self.model, self.own = model, own
        accepted = inspect.signature(model.forward).parameters
        anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in accepted.values())
        self.places = "position_ids" in accepted or anything
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted or anything else {}
        self.sees = hasattr(model.config, "vision_config")
        self.joint: JointCache | None = None
        self.joined: list[Request] = []
        self._together: bool | None = None

    def begin(self, request: Request) -> None:
        """A cache of its own for a request whose prompt is going to be read."""
        request.cache = self._new_cache()

    def tick(
        self, running: Sequence[Request], reading: Sequence[tuple[Request, int]]
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Logits [vocabulary] after the next token of each running request, and after each prompt that is now read.

        Of each prompt so many tokens are read at most; None where some are left.
        """
        stepped = self.step(running) if running else []
        return stepped, [self.read(request, most) for request, most in reading]

    def read(self, request: Request, most: int) -> Tensor | None:
        """Read up to so many more tokens of a prompt; the logits [vocabulary] after the last one, else None."""
        part, request.unread = request.unread[:most], request.unread[most:]
        logits = self._alone(part, request.cache, request.lora, seen=request.seen)
        request.seen = None
        return None if request.unread else logits

    def step(self, requests: Sequence[Request]) -> list[Tensor]:
        """The logits [vocabulary] after the last token of each request."""
        if self.joint is None and (len(requests) == 1 or not self.together):
            return [self._alone(one.unread, one.cache, one.lora, shift=one.shift) for one in requests]
        for request in requests:
            if request not in self.joined:
                self._join(request)
        if self.joint is None:
            raise RuntimeError("no request joined")
        tokens, loras = [request.unread[0] for request in self.joined], [request.lora for request in self.joined]
        logits = self._all(self.joint, tokens, loras, [request.shift for request in self.joined])
        return [logits[self.joined.index(request)] for request in requests]

    def remove(self, request: Request) -> None:
        """Forget a request that ended."""
        request.cache = None
        if request not in self.joined or self.joint is None:
            return
        row = self.joined.index(request)
        self.joint.leave(row)
        self.joined[row] = self.joined[-1]
        self.joined.pop()
        if not self.joined:
            self.joint = None

    def clear(self) -> None:
        """Forget everything, after a step that failed halfway."""
        self.joint, self.joined = None, []

    def admit(self, lora: Lora) -> None:
        """Take an adapter on, if rows with and without it are computed in one batch as alone. Raises ModelError."""
        if not self.together:
            return
        try:
            fine = self._agree([lora, None, lora]) and self.own.seen >= set(lora.factors)
        except RuntimeError:
            fine = False
        if not fine:
            what = "this model does not compute the same for each row of a batch with this adapter"
            raise ModelError.one("ADAPTER-BATCH", what, "", "serve it alone, without a name")

    def forget(self, lora: Lora) -> None:
        """Nothing of it is kept here."""

    @property
    def together(self) -> bool:
        """Whether this model can answer several requests in one batch; found out when it is first asked."""
        if self._together is None:
            self._together = self._proven()
        return self._together

    def _join(self, request: Request) -> None:
        if self.joint is None:
            self.joint = JointCache(request.cache)
        self.joint.join(request.cache)
        request.cache = None
        self.joined.append(request)

    def _alone(
        self, ids: Sequence[int], cache: Any, lora: Lora | None = None, *, seen: Seen | None = None, shift: int = 0
    ) -> Tensor:
        device = self.model.device
        options: dict[str, Any] = {}
        if seen is not None:
            options = {name: value.to(device) for name, value in seen.arguments.items()}
        elif self.sees:  # such a model else counts on from the pictures of whoever it read last
            start = cache.get_seq_length() + shift
            options[PLACES] = torch.arange(start, start + len(ids), device=device)[None]
        with self.own.rows([lora], len(ids)):
            made = self.model(
                input_ids=torch.tensor([ids], device=device),
                past_key_values=cache,
                use_cache=True,
                **options,
                **self.last_only,
            )
        logits: Tensor = made.logits[0, -1]
        return logits

    def _all(
        self, joint: JointCache, tokens: Sequence[int], loras: Sequence[Lora | None], shifts: Sequence[int] = ()
    ) -> Tensor:
        """One token for each row, `shifts` behind its number in its place; logits of shape [rows, vocabulary]."""
        device = self.model.device
        joint.before_step()
        mask = joint.mask()
        options: dict[str, Any] = {} if mask is None else {"attention_mask": mask.to(device).long()}
        if self.places:
            places = [sum(each) for each in zip_longest(joint.lengths(), shifts, fillvalue=0)]
            options[PLACES] = torch.tensor(places, device=device)[:, None]
        ids = torch.tensor(tokens, device=device)[:, None]
        with self.own.rows(loras, 1):
            seen = self.model(input_ids=ids, past_key_values=joint.cache, use_cache=True, **options, **self.last_only)
        joint.after_step()
        logits: Tensor = seen.logits[:, -1]
        return logits

    def _new_cache(self) -> Any:
        whole = whole_cache(self.model.config) if self._together is not False else None
        return roomy_cache(self.model.config) if whole is None else whole

    def _proven(self) -> bool:
        """Two steps of three prompts, alone and together, must agree."""
        if whole_cache(self.model.config) is None:
            return False
        try:
            return self._agree([None] * len(PROBE))
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
            return False  # a model that cannot take such a batch, in whatever way it says so

    def _agree(self, loras: Sequence[Lora | None]) -> bool:
        alone, joint = [], None
        for prompt, lora in zip(PROBE, loras, strict=True):
            cache = whole_cache(self.model.config)
            self._alone(prompt, cache, lora)
            if cache is None or not all(layer.is_initialized for layer in cache.layers):
                return False
            joint = joint or JointCache(cache)
            joint.join(cache)
            alone.append(torch.stack([self._alone([token], cache, lora) for token in (7, 8)]))
        if joint is None:
            return False
        together = torch.stack([self._all(joint, [token] * len(PROBE), loras) for token in (7, 8)], dim=1)
        expected = torch.stack(alone)
        far = (together - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
        return bool(far <= CLOSE * (1 if expected.dtype == torch.float32 else 20))
