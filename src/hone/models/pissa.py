"""PiSSA: an adapter that starts as the principal part of the weights, and is yet an ordinary one on the same base.

The published form takes the principal part out of the base: W - s·B₀A₀ stays frozen beside s·BA, which starts as
s·B₀A₀. Here the base is left alone. The adapter has twice the rank, [B, -B₀]·[A; A₀], and its second half stands still:
the same sum, the same gradients. So what is saved loads anywhere, and a reference model is the base with adapters off.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hone.log import say


@dataclass(frozen=True)
class PrincipalStart:
    """`rank` is that of the part that learns; `steps` those of the quick SVD, or -1 for the exact one."""

    rank: int
    steps: int

    def widened(self, config: Any) -> Any:
        """The adapter's config with room for the half that stands still, and the same scale."""
        scale = config.lora_alpha / (self.rank**0.5 if config.use_rslora else self.rank)
        wide = copy.deepcopy(config)
        wide.r, alpha = 2 * self.rank, scale * 2 * self.rank
        wide.lora_alpha = int(alpha) if alpha == int(alpha) else alpha
        wide.use_rslora = False
        return wide

    @torch.no_grad()
    def fill(self, model: Any) -> Any:
        """Give a fresh adapter of the widened config its start; the model answers as before."""
        for down, up, weight, scale in _layers(model):
            first, second = self.factors(weight, scale)
            down.weight.copy_(torch.cat([first, first]))
            up.weight.copy_(torch.cat([second, -second], dim=1))
            down.weight.register_hook(lambda slope: _first(slope, self.rank, 0))
            up.weight.register_hook(lambda slope: _first(slope, self.rank, 1))
        say(f"PiSSA: the adapter has rank {2 * self.rank}, half of which is the base's principal part and stands still")
        return model

    def factors(self, weight: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """A₀ [r, in] and B₀ [out, r] of a weight [out, in], with s·B₀A₀ its best approximation of this rank."""
        if self.steps < 0:
            left, sizes, right = torch.linalg.svd(weight, full_matrices=False)
            left, sizes, right = left[:, : self.rank], sizes[: self.rank], right[: self.rank]
        else:
            left, sizes, right = torch.svd_lowrank(weight, self.rank, niter=self.steps)
            right = right.T
        root = (sizes / scale).sqrt()
        return root[:, None] * right, left * root


def _first(slope: Tensor, rank: int, axis: int) -> Tensor:
    """The gradient of the half that learns; none for the other."""
    kept = slope.clone()
    kept.narrow(axis, rank, slope.shape[axis] - rank).zero_()
    return kept


def _layers(model: Any) -> Iterator[tuple[Any, Any, Tensor, float]]:
    """Each adapted layer: its factors, its weight as [out, in] in float32, its scale."""
    for module in model.modules():
        if not hasattr(module, "lora_A") or "default" not in module.lora_A:
            continue
        weight = module.get_base_layer().weight.float()
        turned = weight.T if getattr(module, "fan_in_fan_out", False) else weight
        yield module.lora_A["default"], module.lora_B["default"], turned, module.scaling["default"]
