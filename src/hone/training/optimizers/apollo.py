"""APOLLO: plain gradients, scaled as Adam in a narrow space would have scaled them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hone.training.optimizers._adam import TensorwiseOptimizer, adam_direction, grouped, matrices_inside
from hone.training.optimizers._projected import need_targets, project, refresh, sides

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection

GROWTH = 1.01
"""A step may be this much longer than the one before."""


def wanted(finetuning: FinetuningSection) -> bool:
    """Whether the recipe asks for it."""
    return finetuning.use_apollo


def build(model: Any, arguments: Any, finetuning: FinetuningSection) -> Apollo:
    """Matrices named by apollo_target scaled so, everything else by AdamW."""
    narrow, rest = matrices_inside(model, finetuning.apollo_target)
    need_targets(narrow, finetuning.apollo_target, "apollo_target")
    how = {
        "rank": finetuning.apollo_rank,
        "interval": finetuning.apollo_update_interval,
        "scale": finetuning.apollo_scale,
        "side": finetuning.apollo_proj_type,
        "drawn": finetuning.apollo_proj == "random",
        "by_channel": finetuning.apollo_scale_type == "channel",
        "scale_first": finetuning.apollo_scale_front,
        "seed": arguments.seed,
    }
    return Apollo([{"params": narrow, **how}, *grouped(rest)], arguments)


class Apollo(TensorwiseOptimizer):
    """The gradient, each channel (or the whole) scaled by how Adam would scale it in the narrow space."""

    def direction(self, parameter: Tensor, slope: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
        """Adam's direction, for matrices the scaled gradient."""
        if "rank" not in group:
            return adam_direction(state, slope, group)
        if state.get("step", 0) % group["interval"] == 0:
            self._choose_space(state, slope, group)
        narrow = project(state, slope)
        axis = 0 if "left" in state else 1
        move = slope * _scaling(adam_direction(state, narrow, group), narrow, axis if group["by_channel"] else None)
        root = group["scale"] ** 0.5
        if group["scale_first"]:
            return _held_back(move * root, state)
        return _held_back(move, state) * root

    def _choose_space(self, state: dict[str, Any], slope: Tensor, group: dict[str, Any]) -> None:
        if not group["drawn"]:
            refresh(state, slope, group["rank"], group["side"])
            return
        draw = torch.Generator().manual_seed(group["seed"] + state.get("step", 0))
        out, inner = slope.shape
        rank = min(group["rank"], out, inner)
        (side,) = sides(slope, group["side"])
        shape = (out, rank) if side == "left" else (rank, inner)
        state[side] = (torch.randn(shape, generator=draw) * rank**-0.5).to(slope)


def _scaling(moved: Tensor, narrow: Tensor, axis: int | None) -> Tensor:
    """How much longer Adam's direction is than the gradient it was made of: for each channel, of which the narrow space
    keeps those that do not lie along `axis`, or (None) for all."""
    if axis is None:
        return moved.norm() / (narrow.norm() + 1e-8)
    return moved.norm(dim=axis, keepdim=True) / (narrow.norm(dim=axis, keepdim=True) + 1e-8)


def _held_back(move: Tensor, state: dict[str, Any]) -> Tensor:
    """The step, cut where it outgrows the one before."""
    length = move.norm()
    if "length" in state:
        cut = torch.clamp(length / (state["length"] + 1e-8), min=GROWTH) / GROWTH
        move, length = move / cut, length / cut
    state["length"] = length
    return move
