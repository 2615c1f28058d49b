"""The small functions between the products of a block, each with its backward: RMS norm, rotary positions, gate."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hone.models.native import calls


def norm(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """The RMS norm of states [T, H] times weight [H]."""
    if calls.available(states):
        return calls.norm(states, weight, epsilon)
    return normalized(states, root_mean_square(states, epsilon), weight)


def norm_backward(slope: Tensor, states: Tensor, weight: Tensor, epsilon: float, past: Tensor) -> Tensor:
    """The slope at states [T, H] from that at their norm, plus `past`, the slope that goes round the norm."""
    if calls.available(states):
        return calls.norm_backward(slope, states, weight, epsilon, past)
    back = normalized_backward(slope, states, root_mean_square(states, epsilon), weight)
    return back.add_(past).to(slope.dtype)


def root_mean_square(states: Tensor, epsilon: float) -> Tensor:
    """states [..., H] → float32 [..., 1]: one over the root of the mean square."""
    norm = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
    return norm.square_().div_(states.shape[-1]).add_(epsilon).rsqrt_()


def normalized(states: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
    """states [..., H] times its inverse root mean square (rounded to its own dtype first) times weight [H]."""
    return torch.mul(states, inverse).to(states.dtype).mul_(weight)


def normalized_backward(slope: Tensor, states: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
    """The slope at states, float32 [..., H]; the weight is frozen."""
    scaled = torch.mul(slope, weight)
    dots = torch.mul(scaled, states).sum(-1, keepdim=True, dtype=torch.float32)
    share = dots.mul_(inverse.pow(3)).div_(-states.shape[-1])
    return torch.mul(scaled, inverse).addcmul_(states.float(), share)


def rotated(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """states [T, heads, D] turned by their positions; cosine and sine are [T, 1, D]."""
    half = states.shape[-1] // 2
    out = states * cosine
    out[..., :half].addcmul_(states[..., half:], sine[..., :half], value=-1)
    out[..., half:].addcmul_(states[..., :half], sine[..., half:])
    return out


def rotated_backward(slope: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The slope before the turn, which is a turn back."""
    half = slope.shape[-1] // 2
    out = slope * cosine
    out[..., :half].addcmul_(slope[..., half:], sine[..., half:])
    out[..., half:].addcmul_(slope[..., :half], sine[..., :half], value=-1)
    return out


def gated(both: Tensor) -> Tensor:
    """both [T, 2 I], gate then up → SiLU(gate) * up [T, I]."""
    if calls.available(both):
        return calls.gated(both)
    gate, up = both.chunk(2, -1)
    return functional.silu(gate).mul_(up)


def gated_backward(slope: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """From slope [T, I]: the slope at `both` [T, 2 I], and what `gated` gave, made again."""
    if calls.available(both):
        return calls.gated_backward(slope, both)
    gate, up = both.chunk(2, -1)
    out = torch.empty_like(both)
    bent = functional.silu(gate)
    torch.mul(slope, bent, out=out[:, gate.shape[1] :])
    torch.ops.aten.silu_backward.grad_input(slope * up, gate, grad_input=out[:, : gate.shape[1]])
    return out, bent.mul_(up)
