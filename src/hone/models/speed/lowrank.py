"""Products with frozen weights and their low-rank updates: what LoRA adds, without a gradient for what is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Update:
    """The low-rank update of one projection: `down` [r, in], `up` [out, r], times `scale`; its rows of the output."""

    down: Tensor
    up: Tensor
    scale: float
    start: int
    stop: int


@dataclass(frozen=True)
class Frozen:
    """Several projections of the same input as one product: weight [out, in], bias [out] or None."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Stack:
    """All updates of a fused projection as one pair: down [R, in], up [out, R], zero where rank and row do not meet."""

    down: Tensor
    up: Tensor
    parts: tuple[Update, ...]


def stack(updates: Sequence[Update], frozen: Frozen) -> Stack | None:
    """The updates side by side in the dtype of the frozen weight, the scale folded in; None without any."""
    if not updates:
        return None
    weight = frozen.weight
    down = torch.cat([update.down.to(weight.dtype) for update in updates])
    up = weight.new_zeros(weight.shape[0], len(down))
    column = 0
    for update in updates:
        rank = len(update.down)
        torch.mul(update.up, update.scale, out=up[update.start : update.stop, column : column + rank])
        column += rank
    return Stack(down, up, tuple(updates))


def project(source: Tensor, frozen: Frozen, stacked: Stack | None) -> tuple[Tensor, Tensor | None]:
    """source [T, in] → output [T, out], and the source seen through all `down` [T, R] for the backward."""
    output = functional.linear(source, frozen.weight, frozen.bias)
    if stacked is None:
        return output, None
    narrow = torch.mm(source, stacked.down.T)
    return output.addmm_(narrow, stacked.up.T), narrow


def project_backward(
    slope: Tensor, source: Tensor, narrow: Tensor | None, frozen: Frozen, stacked: Stack | None, *, further: bool = True
) -> tuple[Tensor | None, list[Tensor]]:
    """From slope [T, out]: that at the source (None unless `further`), and at each update's down and up, in order."""
    back = torch.mm(slope, frozen.weight) if further else None
    if stacked is None or narrow is None:
        return back, []
    slope_narrow = torch.mm(slope, stacked.up)
    if back is not None:
        back.addmm_(slope_narrow, stacked.down)
    return back, _split(stacked, torch.mm(slope_narrow.T, source), torch.mm(slope.T, narrow))


def _split(stacked: Stack, down: Tensor, up: Tensor) -> list[Tensor]:
    """The slopes of the stack, cut into those of its parts, in the dtype of their own parameters."""
    slopes: list[Tensor] = []
    column = 0
    for part in stacked.parts:
        ranks = slice(column, column + len(part.down))
        slopes.append(down[ranks].to(part.down.dtype))
        slopes.append((up[part.start : part.stop, ranks].to(part.up.dtype)).mul(part.scale))
        column = ranks.stop
    return slopes
