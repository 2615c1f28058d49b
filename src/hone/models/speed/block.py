"""One decoder block as one function with a backward by hand: little is kept, nothing is computed for frozen weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hone.models.native import calls, segments
from hone.models.segments import Layout, Rules, attend, attend_backward
from hone.models.speed import pointwise
from hone.models.speed.lowrank import Frozen, Stack, Update, project, project_backward, stack


@dataclass(frozen=True)
class Norm:
    """An RMS norm: weight [H] (frozen), epsilon."""

    weight: Tensor
    epsilon: float


@dataclass(frozen=True)
class Shape:
    """Query heads, key heads, the width of one, and how scores are made."""

    heads: int
    key_heads: int
    width: int
    rules: Rules


@dataclass(frozen=True)
class Block:
    """The frozen parts of a block. `query_norm` and `key_norm` are over one head (Qwen3), else None."""

    shape: Shape
    before_attention: Norm
    before_mlp: Norm
    query_norm: Norm | None
    key_norm: Norm | None
    entrance: Frozen
    exit: Frozen
    gate_up: Frozen
    down: Frozen


@dataclass(frozen=True)
class Positions:
    """cosine and sine [T, 1, D] of each token's position, and how the row is cut into segments."""

    cosine: Tensor
    sine: Tensor
    layout: Layout


class Updates(NamedTuple):
    """What LoRA adds at the four fused products."""

    entrance: Sequence[Update]
    exit: Sequence[Update]
    gate_up: Sequence[Update]
    down: Sequence[Update]


class Kept(NamedTuple):
    """What the backward needs of the forward; for T tokens about 6 H + 2 I numbers each."""

    states: Tensor
    mixed: Tensor
    heads: Tensor
    raw: Tensor | None
    attended: Tensor
    both: Tensor
    narrow: tuple[Tensor | None, ...]


class BlockFunction(torch.autograd.Function):
    """states [T, H] → states [T, H]. LoRA's parameters come last, in the order of `updates`, for autograd to see."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, block: Block, updates: Updates, positions: Positions, keep: bool, *_learned: Tensor
    ) -> Tensor:
        stacks = _stacks(block, updates)
        out, kept = run(states, block, stacks, positions)
        ctx.block, ctx.stacks, ctx.positions = block, stacks, positions
        tensors = (*kept[:-1], *kept.narrow) if keep else (states,)
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        saved = ctx.saved_tensors
        stacks = ctx.stacks
        kept = Kept._make((*saved[:6], tuple(saved[6:]))) if len(saved) > 1 else None
        if kept is None:
            kept = run(saved[0], ctx.block, stacks, ctx.positions)[1]
        slope, learned = run_backward(
            grad_outputs[0], kept, ctx.block, stacks, ctx.positions, further=ctx.needs_input_grad[0]
        )
        return slope, None, None, None, None, *learned


def _stacks(block: Block, updates: Updates) -> tuple[Stack | None, ...]:
    fused = (block.entrance, block.exit, block.gate_up, block.down)
    return tuple(stack(update, frozen) for update, frozen in zip(updates, fused, strict=True))


def run(states: Tensor, block: Block, stacks: tuple[Stack | None, ...], positions: Positions) -> tuple[Tensor, Kept]:
    """The forward: the new states [T, H] and what a backward needs."""
    calm = _norm(states, block.before_attention)
    fused, narrow_in = project(calm, block.entrance, stacks[0])
    heads, raw, flat = _attention(fused, block, positions)
    mixed, narrow_out = project(flat, block.exit, stacks[1])
    mixed += states
    both, narrow_both = project(_norm(mixed, block.before_mlp), block.gate_up, stacks[2])
    out, narrow_down = project(pointwise.gated(both), block.down, stacks[3])
    narrow = (narrow_in, narrow_out, narrow_both, narrow_down)
    return out.add_(mixed), Kept(states, mixed, heads, raw, flat, both, narrow)


def run_backward(
    slope: Tensor, kept: Kept, block: Block, stacks: tuple[Stack | None, ...], positions: Positions, *, further: bool
) -> tuple[Tensor | None, list[Tensor]]:
    """From the slope at the new states: that at the old ones (None unless `further`) and those of LoRA, in order."""
    slope, learned_mlp = _mlp_backward(slope, kept, block, stacks)
    slope_flat, learned_exit = project_backward(slope, kept.attended, kept.narrow[1], block.exit, stacks[1])
    slope_fused = _attention_backward(slope_flat, kept, block, positions)
    norm = block.before_attention
    calm = _norm(kept.states, norm)
    slope_calm, learned_in = project_backward(
        slope_fused, calm, kept.narrow[0], block.entrance, stacks[0], further=further
    )
    learned = [*learned_in, *learned_exit, *learned_mlp]
    if slope_calm is None:
        return None, learned
    return pointwise.norm_backward(slope_calm, kept.states, norm.weight, norm.epsilon, slope), learned


def _mlp_backward(
    slope: Tensor, kept: Kept, block: Block, stacks: tuple[Stack | None, ...]
) -> tuple[Tensor, list[Tensor]]:
    """Through the second half of a block; the slope at `mixed` includes what goes past the half."""
    norm = block.before_mlp
    slope_gated = torch.mm(slope, block.down.weight)
    if stacks[3] is not None:
        slope_gated.addmm_(torch.mm(slope, stacks[3].up), stacks[3].down)
    slope_both, gated = pointwise.gated_backward(slope_gated, kept.both)
    _, learned_down = project_backward(slope, gated, kept.narrow[3], block.down, stacks[3], further=False)
    calm = _norm(kept.mixed, norm)
    slope_calm, learned_both = project_backward(slope_both, calm, kept.narrow[2], block.gate_up, stacks[2])
    back = pointwise.norm_backward(slope_calm, kept.mixed, norm.weight, norm.epsilon, slope)
    return back, [*learned_both, *learned_down]


def _attention_backward(slope: Tensor, kept: Kept, block: Block, positions: Positions) -> Tensor:
    """From the slope at the attended values [T, heads * D] to that at the fused queries, keys and values."""
    shape = block.shape
    if _in_machine_code(slope, block, positions):
        cut, sizes = _cut(slope, block, positions)
        tables = (positions.cosine, positions.sine)
        return segments.attend_backward(slope, kept.heads, kept.attended, tables, cut, sizes, shape.rules)
    slope_fused = torch.empty_like(kept.heads)
    grads = _parts(slope_fused, shape)
    query, key, value = _parts(kept.heads, shape)
    attended, slope = (t.view(len(t), shape.heads, shape.width).transpose(0, 1) for t in (kept.attended, slope))
    attend_backward(slope, grads, query, key, value, None, attended, layout=positions.layout, rules=shape.rules)
    return _placed_backward(slope_fused, kept.raw, block, positions)


def _attention(fused: Tensor, block: Block, positions: Positions) -> tuple[Tensor, Tensor | None, Tensor]:
    """From fused queries, keys and values [T, ...]: these as they are kept, before their norm, and the attended values
    [T, heads * D]."""
    if _in_machine_code(fused, block, positions):
        cut, sizes = _cut(fused, block, positions)
        heads = segments.split(fused, positions.cosine, positions.sine, cut, sizes)
        return heads, None, segments.attend(heads, cut, sizes, block.shape.rules)
    heads, raw = _placed(fused, block, positions)
    attended = attend(*_parts(heads, block.shape), None, positions.layout, block.shape.rules)
    return heads, raw, attended.transpose(0, 1).reshape(len(fused), -1)


def _in_machine_code(like: Tensor, block: Block, positions: Positions) -> bool:
    """Whether attention has machine code here: no norm of queries, no softcap, no row too long for a thread."""
    plain = block.query_norm is None and block.shape.rules.softcap is None
    whole = positions.cosine.shape[-1] == block.shape.width
    return plain and whole and positions.layout.longest <= segments.LONGEST and calls.available(like)


def _cut(like: Tensor, block: Block, positions: Positions) -> tuple[segments.Plan, segments.Sizes]:
    shape = block.shape
    cut = segments.plan(positions.layout, shape.rules.window)
    return cut, segments.Sizes(shape.heads, shape.key_heads, shape.width)


def _norm(states: Tensor, norm: Norm) -> Tensor:
    return pointwise.norm(states, norm.weight, norm.epsilon)


def _head_norm(states: Tensor, norm: Norm) -> Tensor:
    return pointwise.normalized(states, pointwise.root_mean_square(states, norm.epsilon), norm.weight)


def _parts(heads: Tensor, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """Views of [T, heads + 2 key heads, D] as query [heads, T, D], key and value [key heads, T, D]."""
    parts = heads.transpose(0, 1).split([shape.heads, shape.key_heads, shape.key_heads])
    return parts[0], parts[1], parts[2]


def _placed(fused: Tensor, block: Block, positions: Positions) -> tuple[Tensor, Tensor | None]:
    """Queries and keys normed (Qwen3) and turned by position, values as they are: [T, heads + 2 key heads, D].

    Also the queries and keys before their norm, where there is one.
    """
    shape = block.shape
    heads = fused.view(len(fused), -1, shape.width)
    turned = heads[:, : shape.heads + shape.key_heads]
    raw = None
    if block.query_norm is not None and block.key_norm is not None:
        raw = turned.clone()
        turned[:, : shape.heads] = _head_norm(raw[:, : shape.heads], block.query_norm)
        turned[:, shape.heads :] = _head_norm(raw[:, shape.heads :], block.key_norm)
    turned.copy_(pointwise.rotated(turned, positions.cosine, positions.sine))
    return heads, raw


def _placed_backward(slope: Tensor, raw: Tensor | None, block: Block, positions: Positions) -> Tensor:
    """In place: slope [T, heads + 2 key heads, D] → [T, fused]."""
    shape = block.shape
    turned = slope[:, : shape.heads + shape.key_heads]
    turned.copy_(pointwise.rotated_backward(turned, positions.cosine, positions.sine))
    if raw is not None and block.query_norm is not None and block.key_norm is not None:
        for part, norm in ((slice(0, shape.heads), block.query_norm), (slice(shape.heads, None), block.key_norm)):
            inverse = pointwise.root_mean_square(raw[:, part], norm.epsilon)
            turned[:, part] = pointwise.normalized_backward(turned[:, part], raw[:, part], inverse, norm.weight)
    return slope.view(len(slope), -1)
