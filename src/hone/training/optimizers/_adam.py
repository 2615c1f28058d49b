"""What the optimizers share: Adam's moments, the usual groups of parameters, and a base that steps tensor by tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def adam_direction(state: dict[str, Any], slope: Tensor, group: dict[str, Any]) -> Tensor:
    """Adam's step for a learning rate of 1, with both moments kept in `state` and their start accounted for."""
    if "exp_avg" not in state:
        state |= {"step": 0, "exp_avg": torch.zeros_like(slope), "exp_avg_sq": torch.zeros_like(slope)}
    first, second = group["betas"]
    state["step"] += 1
    state["exp_avg"].lerp_(slope, 1 - first)
    state["exp_avg_sq"].mul_(second).addcmul_(slope, slope, value=1 - second)
    mean = state["exp_avg"] / (1 - first ** state["step"])
    spread = (state["exp_avg_sq"] / (1 - second ** state["step"])).sqrt()
    return mean / spread.add_(group["eps"])


class TensorwiseOptimizer(Optimizer, ABC):
    """An optimizer whose step is one function of each tensor; weight decay is apart from the gradient, as in AdamW."""

    def __init__(self, groups: Iterable[dict[str, Any]], arguments: Any) -> None:
        super().__init__(groups, settings(arguments))

    @abstractmethod
    def direction(self, parameter: Tensor, slope: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
        """Where the tensor moves against, for a learning rate of 1."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                move = self.direction(parameter, parameter.grad, group, self.state[parameter])
                if group["weight_decay"]:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(move.to(parameter.dtype), alpha=-group["lr"])
        return loss


def settings(arguments: Any) -> dict[str, Any]:
    """AdamW's settings, of the trainer's arguments."""
    return {
        "lr": arguments.learning_rate,
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "eps": arguments.adam_epsilon,
        "weight_decay": arguments.weight_decay,
    }


def learning(model: Any) -> list[tuple[str, Tensor]]:
    """The parameters that learn, by name; tied ones once."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def grouped(parameters: Sequence[Tensor], **more: Any) -> list[dict[str, Any]]:
    """Matrices, which decay, and vectors (norms, biases), which do not; `more` goes to both. No group is empty."""
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
    made = [{"params": matrices, **more}, {"params": vectors, "weight_decay": 0.0, **more}]
    return [group for group in made if group["params"]]


def matrices_inside(model: Any, targets: Sequence[str]) -> tuple[list[Tensor], list[Tensor]]:
    """The learning matrices of linear layers whose names hold a target (`all`: all but the head), and the rest."""
    from torch import nn

    heads = {id(end.weight) for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None}
    inside = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and id(module.weight) not in heads
        and ("all" in targets or not targets or any(target in name.split(".") for target in targets))
    }
    parameters = [parameter for _, parameter in learning(model)]
    chosen = [parameter for parameter in parameters if id(parameter) in inside]
    return chosen, [parameter for parameter in parameters if id(parameter) not in inside]
