"""GaLore: Adam in a narrow space that the gradient's own singular vectors span, chosen anew every so many steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hone.training.optimizers._adam import TensorwiseOptimizer, adam_direction, grouped, matrices_inside
from hone.training.optimizers._projected import need_targets, project, refresh, unproject

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection


def wanted(finetuning: FinetuningSection) -> bool:
    """Whether the recipe asks for it."""
    return finetuning.use_galore


def build(model: Any, arguments: Any, finetuning: FinetuningSection) -> GaLore:
    """Matrices named by galore_target in the narrow space, everything else by AdamW."""
    narrow, rest = matrices_inside(model, finetuning.galore_target)
    need_targets(narrow, finetuning.galore_target, "galore_target")
    how = {
        "rank": finetuning.galore_rank,
        "interval": finetuning.galore_update_interval,
        "scale": finetuning.galore_scale,
        "side": finetuning.galore_proj_type,
    }
    return GaLore([{"params": narrow, **how}, *grouped(rest)], arguments)


class GaLore(TensorwiseOptimizer):
    """Adam on the projected gradient; what comes out is projected back and scaled."""

    def direction(self, parameter: Tensor, slope: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
        """Adam's direction, for matrices found in the narrow space."""
        if "rank" not in group:
            return adam_direction(state, slope, group)
        if state.get("step", 0) % group["interval"] == 0:
            refresh(state, slope, group["rank"], group["side"])
        with torch.no_grad():
            return unproject(state, adam_direction(state, project(state, slope), group)) * group["scale"]
