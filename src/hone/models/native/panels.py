"""Weights laid out in panels, the order in which machine code reads them for few rows (`panels.c`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hone.models.native.build import library
from hone.models.native.calls import call


@dataclass(frozen=True)
class Panels:
    """A weight [outputs, inputs]: `numbers` are bfloat16 where that holds them exactly, else float32."""

    numbers: Tensor
    outputs: int
    inputs: int


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether there is machine code for them here, proven on a small sample."""
    if library() is None:
        return False
    states = torch.arange(21.0).view(3, 7)
    halves = torch.arange(-20.0, 21).outer(torch.arange(1.0, 8)).div(64)
    samples = (True, halves), (False, halves + 2.0**-12)
    return all(torch.allclose(times(states, panels(one, half=half)), states @ one.t()) for half, one in samples)


def exact(weight: Tensor) -> bool:
    """Whether bfloat16 holds a float32 weight as it is: half the bytes to read, and the same products."""
    return torch.equal(weight.bfloat16().float(), weight)


def panels(weight: Tensor, *, half: bool) -> Panels:
    """A float32 weight [outputs, inputs] once more; `half`: bfloat16 holds it exactly (`exact`)."""
    source = (weight.bfloat16() if half else weight).contiguous()
    outputs, inputs = weight.shape
    width = library().panel_width()  # type: ignore[union-attr]
    numbers = source.new_empty(-(-outputs // width) * width * inputs)
    call("lay", source.dtype, source, numbers, outputs, inputs)
    return Panels(numbers, outputs, inputs)


def times(states: Tensor, weight: Panels) -> Tensor:
    """states [T, inputs], float32 → their product with the weight [T, outputs]."""
    states = states.contiguous()
    out = states.new_empty(len(states), weight.outputs)
    call("multiply", weight.numbers.dtype, states, weight.numbers, out, len(states), weight.inputs, weight.outputs)
    return out
