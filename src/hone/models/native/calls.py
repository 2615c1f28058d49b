"""The functions of machine code on tensors: each checks its arguments, makes its result and says what it holds."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hone.log import say
from hone.models.native.build import library

_KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_functions: dict[tuple[str, torch.dtype], Any] = {}


def available(like: Tensor) -> bool:
    """Whether there is machine code for tensors of this kind, proven on a small sample."""
    return like.device.type == "cpu" and like.dtype in _KINDS and _proven(like.dtype)


@lru_cache(maxsize=len(_KINDS))
def _proven(dtype: torch.dtype) -> bool:
    """Whether the loss and its slopes are those of torch; what a block calls is proven with the block."""
    if library() is None:
        return False
    drawn = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 203, generator=drawn).mul_(4).to(dtype)
    targets = torch.tensor([0, 7, 99, 150, 202])
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    slopes = logits.float().softmax(-1) - functional.one_hot(targets, logits.shape[1])
    near = 1e-5 if dtype == torch.float32 else 8e-3
    same = torch.allclose(label_slopes(logits, targets), losses, rtol=1e-5, atol=1e-5)
    if same and torch.allclose(logits.float(), slopes, rtol=near, atol=near / 100):
        return True
    say("without machine code for the small functions: it does not compute what torch computes here")
    return False


def call(name: str, dtype: torch.dtype, *given: Tensor | int | float) -> None:
    """Run one function of `rows.c` or `attention.c`; tensors must be dense. The number of threads is added."""
    function = _functions.get((name, dtype)) or _find(name, dtype)
    words: list[Any] = []
    for value in given:
        if isinstance(value, Tensor):
            if not value.is_contiguous():
                raise RuntimeError(f"{name} was given a tensor with gaps")
            words.append(ctypes.c_void_p(value.data_ptr()))
        else:
            words.append(ctypes.c_float(value) if isinstance(value, float) else ctypes.c_long(value))
    function(*words, torch.get_num_threads())


def _find(name: str, dtype: torch.dtype) -> Any:
    found = library()
    if found is None:
        raise RuntimeError("there is no machine code here")
    function = getattr(found, f"{name}_{_KINDS[dtype]}")
    function.restype = None
    return _functions.setdefault((name, dtype), function)


def norm(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """The RMS norm of states [T, H] times weight [H]."""
    states = states.contiguous()
    out = torch.empty_like(states)
    call("norm", states.dtype, states, weight, out, *states.shape, float(epsilon))
    return out


def norm_backward(slope: Tensor, states: Tensor, weight: Tensor, epsilon: float, past: Tensor) -> Tensor:
    """The slope at states [T, H] from that at their norm, plus `past`, the slope that goes round it."""
    slope, states, past = slope.contiguous(), states.contiguous(), past.contiguous()
    out = torch.empty_like(states)
    call("norm_backward", states.dtype, slope, states, weight, past, out, *states.shape, float(epsilon))
    return out


def gated(both: Tensor) -> Tensor:
    """both [T, 2 I], gate then up → SiLU(gate) * up [T, I]."""
    out = both.new_empty(len(both), both.shape[1] // 2)
    call("gate", both.dtype, both, out, *out.shape)
    return out


def gated_backward(slope: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
    """From slope [T, I]: the slope at `both` [T, 2 I], and what `gated` gave, made again."""
    out, again = torch.empty_like(both), torch.empty_like(slope)
    call("gate_backward", both.dtype, slope, both, out, again, *slope.shape)
    return out, again


def label_slopes(logits: Tensor, targets: Tensor) -> Tensor:
    """In place: logits [n, V] → the slope of the cross-entropy at them; the loss of each row, float32 [n], is given."""
    losses = torch.empty(len(logits), dtype=torch.float32)
    call("label_slopes", logits.dtype, logits, targets.contiguous(), losses, *logits.shape)
    return losses
