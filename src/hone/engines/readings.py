"""What a model makes of a text without answering it: the odds of its tokens, its place among texts, its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hone.engines.base import Odds
from hone.models.label_states import unwrapped
from hone.models.value_head import value_head

Pooling = Literal["mean", "last"]
AT_ONCE = 256
"""Tokens whose logits are held at once."""


@torch.inference_mode()
def prompt_odds(model: Any, ids: Sequence[int], likeliest: int) -> list[Odds]:
    """What the model gave each token after the first one, with so many of the likeliest in its place."""
    states, found = _states(model, ids), []
    for start in range(0, len(ids) - 1, AT_ONCE):
        shares = unwrapped(model).get_output_embeddings()(states[start : start + AT_ONCE]).float().log_softmax(-1)
        for row, token in zip(shares, ids[start + 1 : start + 1 + AT_ONCE], strict=False):
            values, best = torch.topk(row, min(likeliest, len(row)))
            found.append(Odds(token, float(row[token]), tuple(zip(best.tolist(), values.tolist(), strict=True))))
    return found


@torch.inference_mode()
def embedding(model: Any, ids: Sequence[int], pooling: Pooling) -> list[float]:
    """The mean of the last hidden states, or that of the last token, of length 1."""
    states = _states(model, ids).float()
    pooled = states.mean(0) if pooling == "mean" else states[-1]
    numbers: list[float] = torch.nn.functional.normalize(pooled, dim=0).tolist()
    return numbers


@torch.inference_mode()
def value(model: Any, ids: Sequence[int]) -> float:
    """What the value head gives the last token."""
    head = value_head(model)
    if head is None:
        raise RuntimeError("the model has no value head")
    return float(head(_states(model, ids)[-1]))


def _states(model: Any, ids: Sequence[int]) -> Tensor:
    """The last hidden states [tokens, width]."""
    row = torch.tensor([list(ids)], device=model.device)
    states: Tensor = unwrapped(model).get_decoder()(input_ids=row, use_cache=False).last_hidden_state[0]
    return states
