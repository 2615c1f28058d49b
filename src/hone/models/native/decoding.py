"""What stands between the products of a step of many requests, as machine code (`decode.c`), in float32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from hone.models.native.build import library
from hone.models.native.calls import call

NO_WINDOW = 1 << 40


@dataclass(frozen=True)
class Heads:
    """How many query and key heads there are, the width of one, and the norms over one: weight [D] or None, epsilon."""

    query: int
    key: int
    width: int
    query_norm: tuple[Tensor | None, float] = (None, 0.0)
    key_norm: tuple[Tensor | None, float] = (None, 0.0)


def available(dtype: torch.dtype) -> bool:
    """Whether there is machine code for this kind of number here, proven on a small sample."""
    return dtype == torch.float32 and _proven()


@lru_cache(maxsize=1)
def _proven() -> bool:
    if library() is None:
        return False
    drawn = torch.Generator().manual_seed(0)
    fused, buffer = torch.randn(1, 4 * 6, generator=drawn), torch.randn(1, 3, 2, 6, generator=drawn)
    places, one = torch.tensor([2]), torch.ones(1, 6)
    query = settle(fused, (one, 0 * one), places, buffer, Heads(2, 1, 6))
    found = attend(query, buffer, torch.tensor([0]), torch.tensor([3]), None, 0.5)
    keys, values = buffer[0].transpose(0, 1)
    expected = functional.scaled_dot_product_attention(fused[:, :12].view(2, 6), keys, values, scale=0.5)
    return torch.equal(buffer[0, 2], fused[0, 12:].view(2, 6)) and torch.allclose(
        found, expected.view(1, 12), atol=1e-5
    )


def settle(fused: Tensor, turn: tuple[Tensor, Tensor], places: Tensor, buffer: Tensor, heads: Heads) -> Tensor:
    """fused [T, (query + 2 key heads) D]: the queries, turned [T, heads, D]; keys, turned, and values are written into
    the buffer [slots, columns, 2 key heads, D], at `places` [T] of its slots and columns together.

    `turn`: cosine, and sine with the sign of its half, for T tokens, each D numbers.
    """
    query = fused.new_empty(len(fused), heads.query, heads.width)
    norms = [0 if weight is None else weight for weight, _ in (heads.query_norm, heads.key_norm)]
    epsilons = [float(epsilon) for _, epsilon in (heads.query_norm, heads.key_norm)]
    sizes = (len(fused), heads.query, heads.key, heads.width)
    call("settle", fused.dtype, fused, *turn, *norms, places, query, buffer, *sizes, *epsilons)
    return query


def attend(query: Tensor, buffer: Tensor, slots: Tensor, ends: Tensor, window: int | None, scale: float) -> Tensor:
    """query [T, heads, D] → [T, heads D]: each attends to the last `window` of the first `ends` tokens of its slot."""
    tokens, heads, width = query.shape
    columns, both = buffer.shape[1], buffer.shape[2]
    out = query.new_empty(tokens, heads * width)
    scores = query.new_empty(torch.get_num_threads() * columns)
    sizes = (tokens, heads, both // 2, width, columns, NO_WINDOW if window is None else window)
    call("attend_slots", query.dtype, query, buffer, slots, ends, scores, out, *sizes, float(scale))
    return out
