"""Tiny tuned models, and stages with their references and value heads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.recipe import FinetuningSection
from hone.stages import load_stage
from hone.stages.shared.reference import Materials

sys.path.insert(0, str(Path(__file__).parent))  # so that the tests beside this file can say `from pairing import …`


@pytest.fixture
def tiny(tiny_model: Callable[[str], Path]) -> Callable[..., Any]:
    """`tiny(lora=True, packed=True)`: the tiny llama, with an adapter that changes something, in training mode."""

    def make(*, lora: bool = True, packed: bool = True, family: str = "llama") -> Any:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        from hone.models.attention import use_packed_attention

        model = AutoModelForCausalLM.from_pretrained(tiny_model(family))
        if lora:
            torch.manual_seed(1)
            model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"]))
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if "lora_B" in name:
                        weight.normal_(std=0.2)
        if packed:
            use_packed_attention(model)
        return model.train()

    return make


@pytest.fixture
def equipped(tmp_path: Path) -> Callable[..., Any]:
    """`equipped(model, stage="dpo", pref_loss="ipo")`: the stage, with its reference or its value head."""

    def make(model: Any, **settings: Any) -> Any:
        from hone.recipe import settle

        section = FinetuningSection(**settings)
        recipe = settle({"model_name_or_path": str(tmp_path)}, verb="chat")
        stage = load_stage(section)
        torch.manual_seed(3)
        stage.equip(model, Materials(recipe.model, recipe.quantization, section, torch.float32, torch.device("cpu")))
        if section.stage == "rm":
            model.v_head.dropout = 0.0
        return stage

    return make
