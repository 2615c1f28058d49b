"""Mixtures of experts: weights that are no layers of their own, as targets of an adapter, and their balance."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from hone.errors import Fault, ModelError
from hone.log import say

if TYPE_CHECKING:
    from torch import Tensor

INSIDE = ("gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3")
"""Names that experts' matrices have in one library or another."""

KEPT = "_hone_balance"


def expert_weights(model: Any) -> list[str]:
    """Full names of the stacked weights [experts, out, in] of all experts of a layer."""
    return [name for name, weight in model.named_parameters() if weight.ndim == 3 and "experts" in name.split(".")]


def split_targets(model: Any, wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of layers, and names of stacked experts' weights, among what an adapter is to sit on.

    `all` means layers alone, and says so. Raises ModelError when a name means experts but none of theirs.
    """
    stacked = expert_weights(model)
    if not stacked:
        return list(wanted), []
    ends = sorted({name.rsplit(".", 1)[-1] for name in stacked})
    if not wanted or "all" in wanted:
        say(f"lora_target: all leaves out the experts' stacked weights; name them to adapt them ({', '.join(ends)})")
        return ["all"], []
    ModelError.all_of(_strangers(wanted, ends))
    fitting = [name for name in wanted if any(weight == name or weight.endswith(f".{name}") for weight in stacked)]
    layers = {name for name, module in model.named_modules() if getattr(module, "weight", None) is not None}
    both = [name for name in wanted if any(layer == name or layer.endswith(f".{name}") for layer in layers)]
    modules = [name for name in wanted if name not in fitting or name in both]
    return modules, [f"experts.{name.rsplit('.', 1)[-1]}" for name in fitting]


def _strangers(wanted: Sequence[str], ends: Sequence[str]) -> list[Fault]:
    faults = []
    for name in wanted:
        if name.rsplit(".", 1)[-1] in INSIDE and name.rsplit(".", 1)[-1] not in ends:
            near = get_close_matches(name, ends, n=1)
            fix = f"did you mean {near[0]}? " if near else ""
            faults.append(
                Fault("TUNER-EXPERTS", f"no expert weight is called {name!r}, the experts would not learn",
                      "lora_target", f"{fix}experts have {', '.join(ends)}")
            )  # fmt: skip
    return faults


def watch_balance(model: Any) -> None:
    """Keep what every training forward of the model says of its experts' balance, for `balanced` to take."""
    import torch

    kept: list[Tensor] = []

    def keep(module: Any, _inputs: Any, output: Any) -> None:
        if module.training and torch.is_grad_enabled() and getattr(output, "aux_loss", None) is not None:
            kept.append(output.aux_loss)

    model.register_forward_hook(keep)
    model.__dict__[KEPT] = kept


def balanced(model: Any, total: Tensor, count: int) -> Tensor:
    """A summed loss of `count` tokens with the weighed loss of the experts' balance, where that is watched."""
    import torch

    from hone.models.label_states import causal_model

    base = causal_model(model)
    kept: list[Tensor] = base.__dict__.get(KEPT, [])
    if not kept:
        return total
    mean = torch.stack(kept).mean()
    kept.clear()
    return total + base.config.get_text_config().router_aux_loss_coef * mean * count
