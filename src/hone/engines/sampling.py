"""Choosing the next token from the logits: greedy, or drawn after temperature, top-k and top-p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from hone.engines.base import Odds, Settings
from hone.engines.grammar import Guide
from hone.errors import NumericError


class Sampler:
    """Draws the tokens of one sequence; it has its own random numbers, so its neighbours do not change them.

    It is made where a request is taken on, and computes nothing there: its tensors come into being with the first token
    in the thread that runs the model. Another one would get a team of OpenMP's for them, which slows every step
    (`hone.engines.threads`).
    """

    def __init__(
        self,
        settings: Settings,
        prompt: Sequence[int],
        vocabulary: int,
        device: torch.device,
        guide: Guide | None = None,
    ) -> None:
        self.settings, self.guide = settings, guide
        self._prompt, self._vocabulary, self._device = prompt, vocabulary, device
        self.random = torch.Generator(device)
        self.random.manual_seed(settings.seed) if settings.seed is not None else self.random.seed()

    @cached_property
    def seen(self) -> Tensor | None:
        """[vocabulary]: the tokens that were asked or answered; None where that plays no part."""
        if self.settings.repetition_penalty == 1.0:
            return None
        seen = torch.zeros(self._vocabulary, dtype=torch.bool, device=self._device)
        seen[list(self._prompt)] = True
        return seen

    @cached_property
    def said(self) -> Tensor | None:
        """[vocabulary]: how often each token was answered; None where that plays no part."""
        if not (self.settings.presence_penalty or self.settings.frequency_penalty):
            return None
        return torch.zeros(self._vocabulary, device=self._device)

    @cached_property
    def bias(self) -> Tensor | None:
        """[vocabulary]: what the request itself adds to the logits; None for nothing."""
        if not self.settings.logit_bias:
            return None
        bias = torch.zeros(self._vocabulary, device=self._device)
        for token, value in self.settings.logit_bias:
            bias[token] = value
        return bias

    def __call__(self, logits: Tensor) -> int:
        """The next id, from logits of shape [vocabulary]. Raises NumericError when they are not numbers."""
        logits = self._penalised(logits.float())
        if self.guide is not None:
            logits = self.guide.narrow(logits)
        if self.settings.greedy:
            value, token = logits.max(-1)
            chosen = _finite(value.item(), int(token))
        else:
            scores, ids = candidates(logits, self.settings)
            _finite(scores.max().item(), 0)
            drawn = torch.multinomial(scores.softmax(-1), 1, generator=self.random)
            chosen = int(ids[drawn])
        if self.seen is not None:
            self.seen[chosen] = True
        if self.said is not None:
            self.said[chosen] += 1
        if self.guide is not None:
            self.guide.took(chosen)
        return chosen

    @property
    def done(self) -> bool:
        """Whether nothing may follow what was chosen so far."""
        return self.guide is not None and self.guide.done

    def _penalised(self, logits: Tensor) -> Tensor:
        """Tokens seen before made less likely (positive logits divided, negative multiplied; or a plain difference for
        those answered before), and the request's own bias."""
        if self.seen is not None:
            penalty = self.settings.repetition_penalty
            logits = torch.where(self.seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
        if self.said is not None:
            frequency, presence = self.settings.frequency_penalty, self.settings.presence_penalty
            logits = logits - self.said * frequency - (self.said > 0) * presence
        return logits if self.bias is None else logits + self.bias


def odds(logits: Tensor, token: int, likeliest: int) -> Odds:
    """The log-probabilities of the chosen token and of the likeliest, from logits of shape [vocabulary]."""
    shares = logits.float().log_softmax(-1)
    values, ids = torch.topk(shares, min(likeliest, shares.shape[-1]))
    return Odds(token, float(shares[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))


def candidates(logits: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """The scores and ids to draw from: temperature, `top_k`, those that reach `min_p`, the nucleus.

    `logits` has the shape [vocabulary]; `top_k` 0 and `top_p` 1 keep everything. One candidate always remains. They
    come in the order of their ids, in which the noise of a draw is dealt out: two that are nearly as likely, and
    change places because a larger batch rounds otherwise, keep their own.
    """
    kept = min(settings.top_k, logits.shape[-1]) if settings.top_k > 0 else logits.shape[-1]
    if kept == logits.shape[-1] and settings.min_p <= 0 and settings.top_p >= 1.0:
        return logits / settings.temperature, torch.arange(kept, device=logits.device)
    scores, ids = torch.topk(logits / settings.temperature, kept)
    if settings.min_p > 0:
        inside = int((scores >= scores[0] + math.log(settings.min_p)).sum().clamp(min=1))
        scores, ids = scores[:inside], ids[:inside]
    if settings.top_p < 1.0:
        shares = scores.softmax(-1)
        before = shares.cumsum(-1) - shares
        inside = int((before < settings.top_p).sum().clamp(min=1))
        scores, ids = scores[:inside], ids[:inside]
    ids, order = ids.sort()
    return scores[order], ids


def _finite(score: float, token: int) -> int:
    if not math.isfinite(score):
        raise NumericError.one(
            "LOGITS-NAN", "the model gives numbers that are not finite", fix="load it with infer_dtype=float32"
        )
    return token
