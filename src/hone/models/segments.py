"""Exact causal attention by segment on a processor: batched products over key heads, remade in the backward."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

BLOCK = 128
"""Queries at a time: keeps the scores of one block in the cache and skips most of what causality forbids."""


@dataclass(frozen=True)
class Layout:
    """How a flattened row is cut: `borders`, cumulative lengths starting with 0, and for each segment which one it
    continues, or -1 (empty: none continues another). What is continued stands earlier and continues nothing itself."""

    borders: tuple[int, ...]
    continues: tuple[int, ...] = ()

    def before(self, segment: int) -> tuple[int, int]:
        """The places [begin, end) that a segment sees besides its own; (0, 0) where there are none."""
        other = self.continues[segment] if self.continues else -1
        return (0, 0) if other < 0 else (self.borders[other], self.borders[other + 1])

    @property
    def longest(self) -> int:
        """How many keys a query sees at most."""
        lengths = (end - begin for begin, end in itertools.pairwise(self.borders))
        befores = (self.before(segment) for segment in range(len(self.borders) - 1))
        return max((length + end - begin for length, (begin, end) in zip(lengths, befores, strict=True)), default=0)


def layout_of(borders: Tensor, continues: Tensor | None) -> Layout:
    """From the tensors that a forward is called with: int32 [S + 1] and [S]."""
    return Layout(tuple(borders.tolist()), () if continues is None else tuple(continues.tolist()))


@dataclass(frozen=True)
class Block:
    """Queries [start, stop) of a segment and the keys they may see, [first, stop) and all of `before`: places in the
    flattened row."""

    start: int
    stop: int
    first: int
    before: tuple[int, int] = (0, 0)

    @property
    def earlier(self) -> int:
        """How many keys stand in `before`."""
        return self.before[1] - self.before[0]

    def seen(self, rows: Tensor) -> Tensor:
        """Of [heads, T, D] the rows that the queries see [heads, keys, D], those in `before` first."""
        own = rows[:, self.first : self.stop]
        return torch.cat([rows[:, slice(*self.before)], own], 1) if self.earlier else own

    def add(self, total: Tensor, share: Tensor) -> None:
        """Onto [heads, T, D], at the rows that `seen` gives, their share [heads, keys, D]."""
        if self.earlier:
            total[:, slice(*self.before)] += share[:, : self.earlier]
        total[:, self.first : self.stop] += share[:, self.earlier :]


@dataclass(frozen=True)
class Rules:
    """How scores are made: times `scale`, within the last `window` keys, bent by `softcap`."""

    scale: float
    window: int | None = None
    softcap: float | None = None


def blocks(layout: Layout, window: int | None, size: int = BLOCK) -> Iterator[Block]:
    """The pieces of work of a flattened row, `size` queries at most each. Raises ValueError for segments that continue
    others inside a window."""
    if layout.continues and window is not None:
        raise ValueError("a window does not reach across segments")
    for segment, (begin, end) in enumerate(itertools.pairwise(layout.borders)):
        before = layout.before(segment)
        for start in range(begin, end, size):
            first = begin if window is None else max(begin, start - window + 1)
            yield Block(start, min(start + size, end), first, before)


class SegmentAttention(torch.autograd.Function):
    """query [heads, T, D], key [key heads, T, D], value [key heads, T, E], sinks [heads] or None → [heads, T, E]."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        sinks: Tensor | None,
        layout: Layout,
        rules: Rules,
    ) -> Tensor:
        ctx.layout, ctx.rules = layout, rules
        out = attend(query, key, value, sinks, layout, rules)
        ctx.save_for_backward(query, key, value, sinks, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        query, key, value, sinks, out = ctx.saved_tensors
        grads = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
        kept = (query, key, value, sinks, out)
        sunk = attend_backward(grad_outputs[0], grads, *kept, layout=ctx.layout, rules=ctx.rules)
        return *grads, sunk, None, None


def attend(query: Tensor, key: Tensor, value: Tensor, sinks: Tensor | None, layout: Layout, rules: Rules) -> Tensor:
    """The attended values [heads, T, E]; in memory they lie as [T, heads, E]."""
    heads, length = query.shape[:2]
    out = query.new_empty(length, heads, value.shape[-1]).transpose(0, 1)
    for block in blocks(layout, rules.window):
        weights = _weights(_scores(query, key, block, rules), sinks)[0]
        attended = torch.bmm(_rows(weights, len(key)), block.seen(value))
        out[:, block.start : block.stop] = attended.view(heads, -1, value.shape[-1])
    return out


def attend_backward(
    slope: Tensor,
    grads: tuple[Tensor, Tensor, Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sinks: Tensor | None,
    out: Tensor,
    *,
    layout: Layout,
    rules: Rules,
) -> Tensor | None:
    """Fills `grads` (at query, key, value) and returns that at the sinks; weights are made again block by block."""
    grads[1].zero_()
    grads[2].zero_()
    dots = torch.mul(slope, out).sum(-1, dtype=torch.float32).to(query.dtype)
    sunk = None if sinks is None else torch.zeros(len(sinks), dtype=torch.float32, device=sinks.device)
    for block in blocks(layout, rules.window):
        queries = slice(block.start, block.stop)
        scores = _scores(query, key, block, rules)
        weights, drained = _weights(scores, sinks)
        slope_rows = _rows(slope[:, queries], len(key))
        block.add(grads[2], torch.bmm(_rows(weights, len(key)).transpose(1, 2), slope_rows))
        down = torch.bmm(slope_rows, block.seen(value).transpose(1, 2)).view(weights.shape)
        down = down.sub_(dots[:, queries, None]).mul_(weights)
        if rules.softcap:
            down.mul_(1 - (scores / rules.softcap).clamp_(-1, 1).square_())
        down_rows = _rows(down, len(key))
        toward = torch.bmm(down_rows, block.seen(key)).mul_(rules.scale)
        grads[0][:, queries] = toward.view(len(query), -1, query.shape[-1])
        query_rows = _rows(query[:, queries], len(key))
        block.add(grads[1], torch.bmm(down_rows.transpose(1, 2), query_rows).mul_(rules.scale))
        if sunk is not None and drained is not None:
            sunk -= (drained.float() * dots[:, queries].float()).sum(1)
    return None if sunk is None or sinks is None else sunk.to(sinks.dtype)


def _rows(heads: Tensor, key_heads: int) -> Tensor:
    """[heads, n, d] → [key heads, group * n, d]: the query heads that share a key head become rows of one product."""
    return heads.reshape(key_heads, -1, heads.shape[-1])


def _scores(query: Tensor, key: Tensor, block: Block, rules: Rules) -> Tensor:
    """[heads, queries, keys] of one block, minus infinity where causality or the window forbids."""
    part = _rows(query[:, block.start : block.stop], len(key))
    scores = torch.bmm(part, block.seen(key).transpose(1, 2)).mul_(rules.scale)
    scores = scores.view(len(query), block.stop - block.start, -1)
    if rules.softcap:
        scores = torch.tanh(scores / rules.softcap).mul_(rules.softcap)
    if rules.window is not None:
        return scores.add_(_barrier(block, rules.window, scores))
    size = block.stop - block.start
    scores[..., -size:].add_(_causal(size, scores.dtype, str(scores.device)))
    return scores


@lru_cache(maxsize=32)
def _causal(size: int, dtype: torch.dtype, device: str) -> Tensor:
    """[size, size]: minus infinity above the diagonal, else zero."""
    return torch.full((size, size), -torch.inf, dtype=dtype, device=device).triu_(1)


def _barrier(block: Block, window: int, like: Tensor) -> Tensor:
    """[queries, keys]: minus infinity where a key lies after its query or `window` or more places before it."""
    places = torch.arange(block.first, block.stop, device=like.device)
    distance = places[block.start - block.first :, None] - places[None]
    return torch.zeros(distance.shape, dtype=like.dtype, device=like.device).masked_fill_(
        (distance < 0) | (distance >= window), -torch.inf
    )


def _weights(scores: Tensor, sinks: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The softmax over keys, and what the sinks drain of it [heads, queries]."""
    if sinks is None:
        return torch.softmax(scores, -1), None
    column = sinks.to(scores.dtype).view(-1, 1, 1).expand(-1, scores.shape[1], 1)
    weights = torch.softmax(torch.cat([scores, column], -1), -1)
    return weights[..., :-1].contiguous(), weights[..., -1]
