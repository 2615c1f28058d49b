"""Which of a few tokens comes next after many prompts: what they all begin with is read once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hone.engines.cache import whole_cache
from hone.errors import NumericError


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many ids all prompts begin with; each keeps at least one of its own."""
    if not prompts:
        return 0
    whole = [tuple(prompt) for prompt in prompts]
    low, high = min(whole), max(whole)
    most = min(len(prompt) for prompt in prompts) - 1
    return next((place for place in range(most) if low[place] != high[place]), max(most, 0))


@torch.inference_mode()
def choose_tokens(
    model: Any,
    prompts: Sequence[Sequence[int]],
    allowed: Sequence[Sequence[int]],
    *,
    rows: int,
    done: Callable[[int, int], None],
    share: bool = True,
) -> None:
    """Tell `done` of each prompt, by its number, which of the ids that are `allowed` for it is the likeliest (its
    place among them). Batches of `rows` prompts of like length, filled up on the right: what stands there is after
    everything that is looked at.

    `share`: read the common beginning once; without, every prompt is read whole. Raises NumericError for logits that
    are not numbers.
    """
    cut, beginning = read_beginning(model, prompts, share=share)
    order = sorted(range(len(prompts)), key=lambda number: (-len(prompts[number]), number))
    for start in range(0, len(order), rows):
        group = order[start : start + rows]
        logits = _last_logits(model, [prompts[number][cut:] for number in group], beginning)
        for number, row in zip(group, logits, strict=True):
            odds = row[list(allowed[number])].float()
            if not bool(torch.isfinite(odds).all()):
                raise NumericError.one(
                    "LOGITS-NAN", "the model gives numbers that are not finite", f"question {number}"
                )
            done(number, int(odds.argmax()))


def read_beginning(model: Any, prompts: Sequence[Sequence[int]], *, share: bool) -> tuple[int, Any]:
    """How many ids were read of what all prompts begin with, and the cache that holds them; none for a model whose
    cache cannot be copied."""
    cut = shared_length(prompts) if share and len(prompts) > 1 else 0
    beginning = whole_cache(model.config) if cut else None
    if beginning is None:
        return 0, None
    ids = torch.tensor([prompts[0][:cut]], device=model.device)
    model(input_ids=ids, past_key_values=beginning, use_cache=True, logits_to_keep=1)
    return cut, beginning


def logits_after(model: Any, rests: Sequence[Sequence[int]], beginning: Any, places: Sequence[int]) -> Tensor:
    """The logits [rows, places, vocabulary] at these places of each rest, filled up on the right to one length."""
    width = max(map(len, rests))
    ids = torch.tensor([[*rest, *[rest[-1]] * (width - len(rest))] for rest in rests], device=model.device)
    options: dict[str, Any] = {"use_cache": False}
    if beginning is not None:
        cache = copy.deepcopy(beginning)
        for layer in cache.layers:
            layer.batch_repeat_interleave(len(rests))
            layer.room = None
        options = {"past_key_values": cache, "use_cache": True}
    kept = torch.tensor(places, device=model.device)
    logits: Tensor = model(input_ids=ids, logits_to_keep=kept, **options).logits
    return logits


def _last_logits(model: Any, rests: Sequence[Sequence[int]], beginning: Any) -> Tensor:
    """The logits [rows, vocabulary] after the last id of each."""
    places = sorted({len(rest) - 1 for rest in rests})
    logits = logits_after(model, rests, beginning, places)
    which = [places.index(len(rest) - 1) for rest in rests]
    return logits[torch.arange(len(rests), device=model.device), which]
