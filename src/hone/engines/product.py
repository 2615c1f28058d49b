"""Matrix products of few rows on a processor: the ways that read a weight fastest, by how many rows there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from hone.models.native import panels
from hone.models.native.panels import Panels

FEW, FEW_PACKED = 3, 2
"""Up to so many rows BLAS reads a weight fastest. From more rows on oneDNN does, sooner where it is packed for it."""
MUCH = 0.8
"""What a plain product must take of the time of the other way to be chosen: what is nearly equal is not left to
chance."""
ROWS = 8
"""How many rows oneDNN packs a weight for; it serves any number."""

Packed: TypeAlias = Panels | Tensor | None
"""A weight once more: in panels, or as oneDNN packs it."""


def pack(weights: Sequence[Tensor], room: int) -> list[Packed]:
    """Copies of weights [outputs, inputs] in an order in which few rows read them faster: panels where there is machine
    code, else oneDNN's, about half as long as where they stand by rows. None for each where all of them do not fit in
    `room` bytes, or there is no such order.
    """
    if {one.dtype for one in weights} != {torch.float32}:
        return [None] * len(weights)
    if panels.available():
        halves = [panels.exact(weight) for weight in weights]
        both = list(zip(weights, halves, strict=True))
        if sum(weight.nbytes // (2 if half else 1) for weight, half in both) > room:
            return [None] * len(weights)
        return [panels.panels(weight, half=half) for weight, half in both]
    if sum(weight.nbytes for weight in weights) > room or not torch.backends.mkldnn.is_available():
        return [None] * len(weights)
    return [torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) for weight in weights]


def product(states: Tensor, weight: Tensor, bias: Tensor | None, packed: Packed = None) -> Tensor:
    """The same as a linear layer up to rounding: states [T, inputs], weight [outputs, inputs] → [T, outputs].

    `packed`: what `pack` made of the weight.
    """
    if weight.dtype != torch.float32:
        return functional.linear(states, weight, bias)
    if isinstance(packed, Panels):
        out = panels.times(states, packed)
    elif len(states) > (FEW if packed is None else FEW_PACKED):
        return _by_onednn(states, weight if packed is None else packed, bias)
    else:
        out = _by_blas(states, weight)
    return out if bias is None else out.add_(bias)


def _by_blas(states: Tensor, weight: Tensor) -> Tensor:
    """The way that is faster on this processor: libraries share out few rows among the cores of some makers only."""
    if _plain(len(states), torch.get_num_threads()):
        return functional.linear(states, weight)
    return _shared_out(states, weight)


@lru_cache(maxsize=64)
def _plain(rows: int, threads: int) -> bool:
    """Whether a plain product of so many rows is much faster here than one whose work is shared out; measured once."""
    states, weight = torch.ones(rows, 512), torch.ones(2048, 512)  # nothing is drawn: a run's random numbers stay
    took: dict[Callable[[Tensor, Tensor], Tensor], float] = {functional.linear: 1.0, _shared_out: 1.0}
    for _ in range(8):
        for way in took:
            began = time.perf_counter()
            way(states, weight)
            took[way] = min(took[way], time.perf_counter() - began)
    return took[functional.linear] < MUCH * took[_shared_out]


def _shared_out(states: Tensor, weight: Tensor) -> Tensor:
    """The weight stands left of the product, so that cores share it out."""
    return _of_one(states, weight) if len(states) == 1 else torch.mm(weight, states.t()).t().contiguous()


def _of_one(row: Tensor, weight: Tensor) -> Tensor:
    """A product with a vector may run on one core. A batch of such products, each with a share of the outputs, runs on
    all, and reads the weight as fast as memory gives it."""
    threads = torch.get_num_threads()
    if threads > 1 and len(weight) % threads == 0 and weight.is_contiguous():
        shares = weight.view(threads, -1, weight.shape[1])
        return torch.bmm(shares, row.t().expand(threads, -1, -1)).view(1, -1)
    return torch.mm(weight, row.repeat(2, 1).t())[:, :1].t().contiguous()


def _by_onednn(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not torch.backends.mkldnn.is_available():
        return functional.linear(states, weight, bias)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return found
