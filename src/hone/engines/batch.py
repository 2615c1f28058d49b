"""Many prompts continued at once, by a model that may be in the middle of its training: for answers that are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hone.engines.base import Settings
from hone.engines.cache import RoomyLayer, roomy_cache
from hone.errors import NumericError

ROWS = 64
"""How many answers are written side by side."""


@dataclass(frozen=True)
class Answer:
    """What was written: the ids, a stop id among them, and the log-probability (nats) that the model gave each.

    These are the model's own, before temperature, top-k and top-p. `ended`: by a stop id, not by its room.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


def answer_all(model: Any, prompts: Sequence[Sequence[int]], settings: Settings, *, each: int = 1) -> list[Answer]:
    """`each` answers to every prompt, those of one prompt side by side; the prompt itself is read once for all of them.

    Adapters are left as they are; the model computes as in evaluation and is afterwards as it was. All draws follow
    from `settings.seed` alone. Raises PromptTooLongError, and NumericError for logits that are not numbers.
    """
    was_training = model.training
    model.eval()
    random = torch.Generator(model.device)
    random.manual_seed(settings.seed) if settings.seed is not None else random.seed()
    step = max(1, ROWS // each)
    try:
        with torch.no_grad():
            groups = [prompts[start : start + step] for start in range(0, len(prompts), step)]
            return [answer for group in groups for answer in _Writing(model, group, settings, each, random).answers()]
    finally:
        model.train(was_training)


class _Writing:
    """Rows under way. Prompts stand right-aligned, with a mask over what fills them up on the left."""

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], settings: Settings, each: int, random: torch.Generator
    ) -> None:
        self.model, self.settings, self.each, self.random = model, settings, each, random
        width, device = max(len(prompt) for prompt in prompts), model.device
        context = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        rooms = [settings.room(len(prompt), context) for prompt in prompts]
        self.rooms = [room for room in rooms for _ in range(each)]
        rows = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        self.unread = torch.tensor(rows, device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self.mask = (torch.arange(width, device=device) >= width - lengths[:, None]).long()
        self.cache = roomy_cache(model.config)
        self.ids: list[list[int]] = [[] for _ in self.rooms]
        self.logprobs: list[list[float]] = [[] for _ in self.rooms]
        self.ended = [False] * len(self.rooms)
        self.live = list(range(len(self.rooms)))
        """Which answer each row of the batch belongs to; finished ones leave the batch."""

    def answers(self) -> list[Answer]:
        """Write until every row has ended or has used its room."""
        logits = self._read().repeat_interleave(self.each, 0)
        self.mask = self.mask.repeat_interleave(self.each, 0)
        _change(self.cache, lambda layer: layer.batch_repeat_interleave(self.each))
        while True:
            self._take(logits)
            if not self.live:
                return [
                    Answer(tuple(i), tuple(p), e) for i, p, e in zip(self.ids, self.logprobs, self.ended, strict=True)
                ]
            logits = self._read()

    def _read(self) -> Tensor:
        """What comes next in every row, [rows, vocabulary], float32."""
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -self.unread.shape[1] :]
        seen = self.model(
            input_ids=self.unread,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = seen.logits[:, -1].float()
        return logits

    def _take(self, logits: Tensor) -> None:
        """Choose a token for every row, write it down, and let finished rows go."""
        chosen = choose(logits, self.settings, self.random)
        found = logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0]
        rows = zip(range(len(self.live)), chosen.tolist(), found.tolist(), strict=True)
        staying = [row for row, token, logprob in rows if self._goes_on(self.live[row], token, logprob)]
        keep = torch.tensor(staying, dtype=torch.long, device=logits.device)
        if len(staying) < len(self.live):
            self.live = [self.live[row] for row in staying]
            self.mask = self.mask[keep]
            if staying:
                _change(self.cache, lambda layer: layer.batch_select_indices(keep))
        self.unread = chosen[keep][:, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(staying), 1)], 1)

    def _goes_on(self, answer: int, token: int, logprob: float) -> bool:
        self.ids[answer].append(token)
        self.logprobs[answer].append(logprob)
        self.ended[answer] = token in self.settings.stop_ids
        return not self.ended[answer] and len(self.ids[answer]) < self.rooms[answer]


def choose(logits: Tensor, settings: Settings, random: torch.Generator) -> Tensor:
    """A token for each row of logits [rows, vocabulary]: the likeliest, or drawn after temperature, top-k and top-p."""
    if not bool(torch.isfinite(logits.amax(-1)).all()):
        raise NumericError.one(
            "LOGITS-NAN", "the model gives numbers that are not finite", fix="lower learning_rate, or use bf16 or fp32"
        )
    if settings.greedy:
        return logits.argmax(-1)
    kept = min(settings.top_k, logits.shape[-1]) if settings.top_k > 0 else logits.shape[-1]
    if kept == logits.shape[-1] and settings.top_p >= 1.0:
        return torch.multinomial((logits / settings.temperature).softmax(-1), 1, generator=random)[:, 0]
    scores, ids = torch.topk(logits / settings.temperature, kept)
    shares = scores.softmax(-1)
    outside = shares.cumsum(-1) - shares >= settings.top_p
    outside[:, 0] = False
    drawn = torch.multinomial(scores.masked_fill(outside, -torch.inf).softmax(-1), 1, generator=random)
    return ids.gather(1, drawn)[:, 0]


def _change(cache: Any, work: Callable[[Any], None]) -> None:
    """Change which rows a cache holds; roomy layers lay out their buffers anew at the next step."""
    for layer in cache.layers:
        work(layer)
        if isinstance(layer, RoomyLayer):
            layer.room = None
