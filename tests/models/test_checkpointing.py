"""Gradient checkpointing changes memory and time, not gradients, also where the embeddings are frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hone.models.checkpointing import enable_gradient_checkpointing
from hone.models.load import load_model
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection

IDS = torch.tensor([[1, 5, 9, 200, 33]])


def gradients(folder: Path, tuner: str, use_reentrant: bool | None) -> dict[str, torch.Tensor]:
    section = ModelSection(model_name_or_path=str(folder))
    model = load_model(section, dtype=torch.float32, device=torch.device("cpu"))
    torch.manual_seed(0)
    model = attach(model, FinetuningSection(finetuning_type=tuner), section, training=True)
    if use_reentrant is not None:
        enable_gradient_checkpointing(model, use_reentrant=use_reentrant)
        assert model.config.use_cache is False
    model(input_ids=IDS, labels=IDS).loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("tuner", ["lora", "freeze", "full"])
def test_gradients_are_the_same(folder: Path, tuner: str, use_reentrant: bool) -> None:
    plain, again = gradients(folder, tuner, None), gradients(folder, tuner, use_reentrant)
    assert plain.keys() == again.keys()
    assert plain
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=0, atol=1e-6)
