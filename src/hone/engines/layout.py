"""Linear layers laid out as one token at a time reads them fastest on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALL = 1 << 16
"""Weights of fewer numbers are not worth waking other cores for."""

MOST_SHARES = 8
"""Into how many shares the inputs of a layer are split at most; memory is saturated well before."""


class ColumnLinear(nn.Linear):
    """A linear layer that stores its weight input by input, and multiplies a single row with all cores.

    Decoding one token is a matrix times a vector, limited by how fast the matrix is read. The BLAS of PyTorch does
    that on one core, and slowly where rows are short. Here the inputs are split into shares, one a core; each share is
    a contiguous block of the weight, and the partial sums are added. The result differs from `nn.Linear` by the
    rounding of float32 alone. The weight's shape and values stay; only its strides change. With a single core the
    strides alone help, and only where there are more outputs than inputs.
    """

    def __init__(self, source: nn.Linear, shares: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = source.in_features, source.out_features
        with torch.no_grad():  # in place, so that an embedding tied to this weight sees the same memory
            source.weight.data = source.weight.data.t().contiguous().t()
        self.weight, self.bias = source.weight, source.bias
        self.shares = shares
        self.blocks = source.weight.detach().t().view(shares, self.in_features // shares, self.out_features)

    def forward(self, input: Tensor) -> Tensor:
        """The same as `nn.Linear`: [..., in_features] to [..., out_features]."""
        if self.shares == 1 or input.numel() != self.in_features:
            return functional.linear(input, self.weight, self.bias)
        parts = torch.bmm(input.reshape(self.shares, 1, -1), self.blocks)
        output = parts.sum(0).view(*input.shape[:-1], self.out_features)
        return output if self.bias is None else output + self.bias


def lay_out_for_decoding(model: nn.Module) -> None:
    """Replace the float32 linear layers of a model on a CPU by `ColumnLinear`. Such a model is for inference only:
    it computes the same, but safetensors does not save it."""
    found = [(name, layer) for name, layer in model.named_modules() if _gains(layer)]
    for name, layer in found:
        model.set_submodule(name, ColumnLinear(layer, _shares(layer)))


def _gains(layer: nn.Module) -> bool:
    if type(layer) is not nn.Linear:
        return False
    plain = layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32
    return plain and (_shares(layer) > 1 or layer.out_features > layer.in_features)


def _shares(layer: nn.Linear) -> int:
    """As many shares as there are threads, where the inputs can be split evenly."""
    most = min(torch.get_num_threads(), MOST_SHARES) if layer.weight.numel() >= SMALL else 1
    return next(shares for shares in range(most, 0, -1) if layer.in_features % shares == 0)
