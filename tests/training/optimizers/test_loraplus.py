"""LoRA+: each kind of parameter has its own learning rate, under the optimizer that `optim` names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hone.recipe import FinetuningSection
from hone.recipe.schema.training import TrainingSection
from hone.training.arguments import trainer_arguments
from hone.training.optimizers import chosen_optimizer


def test_the_second_factor_learns_faster(fresh_model: Callable[[], Any], tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        fresh_model(), LoraConfig(target_modules=["q_proj", "embed_tokens"], modules_to_save=["norm"])
    )
    arguments = trainer_arguments(TrainingSection(output_dir=str(tmp_path), arguments={"learning_rate": 1e-3}))
    wishes = FinetuningSection(loraplus_lr_ratio=16.0, loraplus_lr_embedding=1e-5)
    choose = chosen_optimizer(wishes)
    assert choose is not None
    optimizer = choose(model, arguments)
    assert isinstance(optimizer, torch.optim.AdamW)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    named = {name: rates[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    assert len(named) == len(rates)
    for name, rate in named.items():
        wanted = 1e-5 if "lora_embedding_" in name else 1.6e-2 if "lora_B" in name else 1e-3
        assert abs(rate - wanted) < 1e-12, name
