"""Adam-mini: one second moment for each head or row instead of one for each number; half of Adam's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hone.training.optimizers._adam import TensorwiseOptimizer, learning

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection

BY_HEAD = ("q_proj", "k_proj", "query", "key")


def wanted(finetuning: FinetuningSection) -> bool:
    """Whether the recipe asks for it."""
    return finetuning.use_adam_mini


def build(model: Any, arguments: Any, finetuning: FinetuningSection) -> AdamMini:
    """Queries and keys share a moment by head, other matrices by row, vectors as a whole."""
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    by_rows: dict[int, list[Tensor]] = {}
    for name, parameter in learning(model):
        heads = any(part in BY_HEAD for part in name.split(".")) and parameter.shape[0] % width == 0
        rows = parameter.shape[0] if parameter.ndim < 2 else width if heads else 1
        by_rows.setdefault(rows if parameter.ndim > 1 else 0, []).append(parameter)
    groups = [
        {"params": members, "rows": rows, **({} if rows else {"weight_decay": 0.0})}
        for rows, members in by_rows.items()
    ]
    return AdamMini(groups, arguments)


class AdamMini(TensorwiseOptimizer):
    """`rows` is how many rows of a matrix share one second moment; 0 for vectors, which have one."""

    def direction(self, parameter: Tensor, slope: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
        """The first moment of each number over the spread of its block."""
        rows = group["rows"] or slope.shape[0]
        squares = (slope.float() ** 2).reshape(slope.shape[0] // rows, -1).mean(1)
        if "exp_avg" not in state:
            state |= {"step": 0, "exp_avg": torch.zeros_like(slope), "block_sq": torch.zeros_like(squares)}
        first, second = group["betas"]
        state["step"] += 1
        state["exp_avg"].lerp_(slope, 1 - first)
        state["block_sq"].lerp_(squares, 1 - second)
        spread = (state["block_sq"] / (1 - second ** state["step"])).sqrt() + group["eps"]
        each = spread.repeat_interleave(rows).view(-1, *[1] * (slope.ndim - 1))
        return state["exp_avg"] / (1 - first ** state["step"]) / each
