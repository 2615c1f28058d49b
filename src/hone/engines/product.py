"""Matrix products of few rows on a processor: the ways that read a weight fastest, by how many rows there are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

FEW, FEW_PACKED = 3, 2
"""Up to so many rows the weight stands left of the product: BLAS then reads it once, on all cores. From more rows on
oneDNN is faster, sooner where the weight is packed for it."""
ROWS = 8
"""How many rows a weight is packed for; it serves any number."""


def pack(weights: Sequence[Tensor], room: int) -> list[Tensor | None]:
    """Copies of weights [outputs, inputs] in the order in which oneDNN reads them for several rows, about half as long
    as where they stand by rows. None for each where all of them do not fit in `room` bytes, or there is no such order.
    """
    size = sum(weight.nbytes for weight in weights)
    if size > room or not torch.backends.mkldnn.is_available() or {one.dtype for one in weights} != {torch.float32}:
        return [None] * len(weights)
    return [torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) for weight in weights]


def product(states: Tensor, weight: Tensor, bias: Tensor | None, packed: Tensor | None = None) -> Tensor:
    """The same as a linear layer up to rounding: states [T, inputs], weight [outputs, inputs] → [T, outputs].

    `packed`: what `pack` made of the weight.
    """
    if weight.dtype != torch.float32:
        return functional.linear(states, weight, bias)
    if len(states) > (FEW if packed is None else FEW_PACKED):
        return _by_onednn(states, weight if packed is None else packed, bias)
    out = _of_one(states, weight) if len(states) == 1 else torch.mm(weight, states.t()).t().contiguous()
    return out if bias is None else out.add_(bias)


def _of_one(row: Tensor, weight: Tensor) -> Tensor:
    """A product with a vector runs on one core. A batch of such products, each with a share of the outputs, runs on
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
