"""Muon: the momentum of a hidden matrix with all its singular values made equal; AdamW for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hone.training.optimizers._adam import TensorwiseOptimizer, adam_direction, grouped, matrices_inside

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection

MOMENTUM, STEPS, COEFFICIENTS, TINY = 0.95, 5, (3.4445, -4.7750, 2.0315), 1e-7
"""Of the publication: Newton-Schulz iterations of fifth order."""


def wanted(finetuning: FinetuningSection) -> bool:
    """Whether the recipe asks for it."""
    return finetuning.use_muon


def build(model: Any, arguments: Any, finetuning: FinetuningSection) -> Muon:
    """Hidden matrices by Muon; embeddings, head, norms and biases by AdamW, at the same learning rate."""
    hidden, rest = matrices_inside(model, ("all",))
    return Muon([{"params": hidden, "momentum": MOMENTUM}, *grouped(rest)], arguments)


class Muon(TensorwiseOptimizer):
    """Steps of Adam's usual size: a learning rate that suits AdamW suits this."""

    def direction(self, parameter: Tensor, slope: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
        """Nesterov's momentum made orthogonal, times 0.2 · sqrt(longer side); or Adam's direction."""
        if "momentum" not in group:
            return adam_direction(state, slope, group)
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(slope)
        state["momentum_buffer"].lerp_(slope, 1 - group["momentum"])
        return orthogonal(slope.lerp(state["momentum_buffer"], group["momentum"])) * 0.2 * max(slope.shape) ** 0.5


def orthogonal(matrix: Tensor) -> Tensor:
    """[out, in] with its singular values brought near to 1, computed in bfloat16."""
    first, third, fifth = COEFFICIENTS
    wide = matrix.bfloat16() if matrix.shape[0] <= matrix.shape[1] else matrix.bfloat16().T
    wide = wide / wide.norm().clamp(min=TINY)
    for _ in range(STEPS):
        square = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(square, square, square, beta=third, alpha=fifth), wide, beta=first)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
