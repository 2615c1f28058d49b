"""LoRA+: the second factor of an adapter learns faster than the first, embeddings' adapters at a pace of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hone.training.optimizers._adam import grouped, learning

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from hone.recipe import FinetuningSection


def wanted(finetuning: FinetuningSection) -> bool:
    """Whether the recipe asks for it."""
    return finetuning.loraplus_lr_ratio is not None


def build(model: Any, arguments: Any, finetuning: FinetuningSection) -> Optimizer:
    """The optimizer that `optim` names, with a learning rate for each kind of parameter."""
    from hone.training.lean import Trainer

    ratio, rate = finetuning.loraplus_lr_ratio or 1.0, arguments.learning_rate
    rates: dict[float, list[Any]] = {}
    for name, parameter in learning(model):
        if "lora_embedding_" in name:
            own = finetuning.loraplus_lr_embedding
        else:
            own = rate * ratio if ".lora_B." in name else rate
        rates.setdefault(own, []).append(parameter)
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    groups = [group for own, members in rates.items() for group in grouped(members, lr=own)]
    made: Optimizer = kind([{"weight_decay": arguments.weight_decay, **group} for group in groups], **settings)
    return made
