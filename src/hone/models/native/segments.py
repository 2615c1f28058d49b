"""Attention inside segments with machine code: all of it where that can be (`tasks.py`), else between batched products.

Queries lie by block: of each block of tokens [begin, begin + count) first those of head 0, then of head 1 ..., so that
the query heads which share a key head are rows of one product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hone.models.native import tasks
from hone.models.native.calls import call
from hone.models.segments import BLOCK, Block, Layout, Rules, blocks

LONGEST = 16384
"""Keys of a segment for which a row of weights is sure to fit the stack of a thread."""

UNLIMITED = 1 << 40

QUERIES = 64
"""At a time where all is machine code and a further block costs nothing: fewer scores that causality forbids, and those
of one block fit the cache."""


@dataclass(frozen=True)
class Plan:
    """How a flattened row is cut into blocks, the ends of its segments that none continues and the places of those that
    are continued; for each token where its block begins and how many tokens it has; `tasks` where machine code does it
    all."""

    blocks: tuple[Block, ...]
    ends: frozenset[int]
    continued: frozenset[tuple[int, int]]
    begin: Tensor
    count: Tensor
    tasks: tasks.Tasks | None


@dataclass(frozen=True)
class Sizes:
    """Query heads, key heads, the width of one."""

    heads: int
    keys: int
    width: int


@lru_cache(maxsize=8)
def plan(layout: Layout, window: int | None) -> Plan:
    """The blocks of a row with this layout."""
    whole = tasks.product() is not None
    cut = tuple(blocks(layout, window, QUERIES if whole else BLOCK))
    continued = frozenset(block.before for block in cut if block.earlier)
    count = torch.tensor([block.stop - block.start for block in cut], dtype=torch.int32)
    begin = torch.tensor([block.start for block in cut], dtype=torch.int32)
    ends = frozenset(layout.borders[1:]) - {end for _, end in continued}
    shared = tasks.shared_out(cut, layout.borders) if whole else None
    return Plan(cut, ends, continued, begin.repeat_interleave(count), count.repeat_interleave(count), shared)


def parts(flat: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Views of one buffer [T * (heads + 2 keys) * D]: query [heads * T, D] by block, key, value [keys, T, D]."""
    query, key, value = flat.view(-1, sizes.width).tensor_split(_cuts(flat, sizes))
    return query, key.view(sizes.keys, -1, sizes.width), value.view(sizes.keys, -1, sizes.width)


def _cuts(flat: Tensor, sizes: Sizes) -> tuple[int, int]:
    tokens = flat.numel() // (sizes.width * (sizes.heads + 2 * sizes.keys))
    return tokens * sizes.heads, tokens * (sizes.heads + sizes.keys)


def split(fused: Tensor, cosine: Tensor, sine: Tensor, cut: Plan, sizes: Sizes) -> Tensor:
    """fused [T, (heads + 2 keys) * D], turned by position → the buffer that `parts` reads."""
    out = torch.empty_like(fused).view(-1)
    told = (*parts(out, sizes), len(fused), sizes.heads, sizes.keys, sizes.width)
    call("split", fused.dtype, fused, cosine, sine, cut.begin, cut.count, *told)
    return out


def attend(flat: Tensor, cut: Plan, sizes: Sizes, rules: Rules) -> Tensor:
    """The attended values [T, heads * D] of what `split` made."""
    if cut.tasks is None:
        blocked = _attended(parts(flat, sizes), cut, sizes, rules)
    else:
        given = tasks.Given(*parts(flat.float(), sizes), *_bounds(rules))
        blocked = tasks.attend(given, cut.tasks).to(flat.dtype)
    tokens = len(cut.begin)
    out = flat.new_empty(tokens, sizes.heads * sizes.width)
    call("flatten", flat.dtype, blocked, cut.begin, cut.count, out, tokens, sizes.heads, sizes.width)
    return out


def _attended(given: tuple[Tensor, Tensor, Tensor], cut: Plan, sizes: Sizes, rules: Rules) -> Tensor:
    """The attended values [heads * T, D] by block, block after block."""
    query, key, value = given
    blocked = torch.empty_like(query)
    for block in cut.blocks:
        weights = _weights(query, key, block, sizes, rules)
        torch.bmm(weights, block.seen(value), out=_piece(blocked, block, sizes))
    return blocked


def _bounds(rules: Rules) -> tuple[int, float]:
    """The window and the scale as machine code takes them."""
    return UNLIMITED if rules.window is None else rules.window, float(rules.scale)


def attend_backward(
    slope: Tensor, flat: Tensor, attended: Tensor, tables: tuple[Tensor, Tensor], cut: Plan, sizes: Sizes, rules: Rules
) -> Tensor:
    """From the slope at the attended values [T, heads * D] to that at `fused`; `tables` are cosine and sine."""
    given = parts(flat, sizes)
    tokens = len(cut.begin)
    down, dots = torch.empty_like(given[0]), torch.empty(len(given[0]), dtype=torch.float32)
    told = (tokens, sizes.heads, sizes.width)
    call("gather", flat.dtype, slope.contiguous(), attended, cut.begin, cut.count, down, dots, *told)
    if cut.tasks is None:
        grads = _slopes(given, flat, cut, (down, dots), sizes, rules)
    else:
        wide = flat.float()
        slopes = torch.empty_like(wide)
        whole = tasks.Given(*parts(wide, sizes), *_bounds(rules))
        tasks.attend_backward(whole, cut.tasks, down.float(), dots, parts(slopes, sizes))
        grads = parts(slopes.to(flat.dtype), sizes)
    out = flat.new_empty(tokens, (sizes.heads + 2 * sizes.keys) * sizes.width)
    call("join", flat.dtype, *grads, *tables, cut.begin, cut.count, out, tokens, sizes.heads, sizes.keys, sizes.width)
    return out


def _slopes(
    given: tuple[Tensor, Tensor, Tensor],
    flat: Tensor,
    cut: Plan,
    slopes: tuple[Tensor, Tensor],
    sizes: Sizes,
    rules: Rules,
) -> tuple[Tensor, Tensor, Tensor]:
    """At query, key and value, block after block."""
    grads = parts(torch.empty_like(flat) if rules.window is None else torch.zeros_like(flat), sizes)
    for begin, end in cut.continued:  # these are only added to
        grads[1][:, begin:end].zero_()
        grads[2][:, begin:end].zero_()
    ends = cut.ends if rules.window is None else frozenset()
    for block in reversed(cut.blocks):  # the last block of a segment sees all its keys, and fills what others add to
        _block_backward(block, given, grads, slopes, sizes, rules, fresh=block.stop in ends)
    return grads


def _block_backward(
    block: Block,
    given: tuple[Tensor, Tensor, Tensor],
    grads: tuple[Tensor, Tensor, Tensor],
    slopes: tuple[Tensor, Tensor],
    sizes: Sizes,
    rules: Rules,
    *,
    fresh: bool,
) -> None:
    query, key, value = given
    weights = _weights(query, key, block, sizes, rules)
    down = _piece(slopes[0], block, sizes)
    dots = slopes[1][block.start * sizes.heads : block.stop * sizes.heads]
    toward = torch.bmm(down, block.seen(value).transpose(1, 2))
    call("unweigh", toward.dtype, toward, weights, dots, len(dots), toward.shape[-1], float(rules.scale))
    torch.bmm(toward, block.seen(key), out=_piece(grads[0], block, sizes))
    _add(grads[1], toward, _piece(query, block, sizes), block, fresh=fresh)
    _add(grads[2], weights, down, block, fresh=fresh)


def _add(total: Tensor, left: Tensor, right: Tensor, block: Block, *, fresh: bool) -> None:
    """left^T right [keys, seen, D] onto the total of the keys it sees; where its own are `fresh`, as their total."""
    own = total[:, block.first : block.stop]
    if fresh and not block.earlier:
        torch.bmm(left.transpose(1, 2), right, out=own)
        return
    if fresh:
        own.zero_()
    block.add(total, torch.bmm(left.transpose(1, 2), right))


def _piece(blocked: Tensor, block: Block, sizes: Sizes) -> Tensor:
    """[keys, queries of the heads that share one, D] of a block."""
    return blocked[block.start * sizes.heads : block.stop * sizes.heads].view(sizes.keys, -1, sizes.width)


def _weights(query: Tensor, key: Tensor, block: Block, sizes: Sizes, rules: Rules) -> Tensor:
    scores = torch.bmm(_piece(query, block, sizes), block.seen(key).transpose(1, 2))
    count, keys = block.stop - block.start, scores.shape[-1]
    offset = block.earlier + block.start - block.first
    call("weigh", scores.dtype, scores, count * sizes.heads, count, keys, offset, *_bounds(rules))
    return scores
