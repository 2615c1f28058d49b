"""LLaMA-Pro: a model with more blocks answers as before, and only the new ones learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import ModelError, RecipeError
from hone.models.load import load_model
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection
from hone.runs.expand import run

IDS = torch.tensor([[1, 5, 9, 200]])


def load(folder: Path) -> Any:
    return load_model(ModelSection(model_name_or_path=str(folder)), dtype=torch.float32, device=torch.device("cpu"))


@pytest.mark.parametrize(("family", "count"), [("llama", 1), ("llama", 3), ("qwen3", 3), ("gemma3", 3)])
def test_more_blocks_answer_as_before(
    tiny_model: Callable[[str], Path], tmp_path: Path, family: str, count: int
) -> None:
    assert run([str(tiny_model(family)), str(tmp_path / "more"), "--blocks", str(count)]) == 0
    before, after = load(tiny_model(family)), load(tmp_path / "more")
    assert after.config.num_hidden_layers == 3 + count
    with torch.no_grad():
        assert torch.allclose(before(IDS).logits, after(IDS).logits, atol=1e-6)
    assert (tmp_path / "more/tokenizer.json").is_file()


@pytest.mark.parametrize("tuner", ["freeze", "lora"])
def test_only_the_new_blocks_learn(tiny_model: Callable[[str], Path], tmp_path: Path, tuner: str) -> None:
    run([str(tiny_model("llama")), str(tmp_path / "more"), "--blocks", "3"])
    wishes = FinetuningSection(finetuning_type=tuner, use_llama_pro=True, freeze_trainable_layers=3)
    section = ModelSection(model_name_or_path=str(tmp_path / "more"))
    model = attach(load(tmp_path / "more"), wishes, section, training=True)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    layers = {int(name.split("layers.")[1].split(".")[0]) for name in names}
    assert layers == {1, 3, 5}
    silent = [
        p for name, p in model.named_parameters() if "layers.1." in name and "o_proj" in name and "lora" not in name
    ]
    assert all(not weight.any() for weight in silent)


def test_stretches_must_be_equal(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="choose a number that divides 3"):
        run([str(tiny_model("llama")), str(tmp_path / "more"), "--blocks", "2"])
    wishes = FinetuningSection(use_llama_pro=True, freeze_trainable_layers=2)
    section = ModelSection(model_name_or_path=str(tiny_model("llama")))
    with pytest.raises(ModelError, match="3 blocks do not fall into 2"):
        attach(load(tiny_model("llama")), wishes, section, training=True)


def test_what_is_there_is_not_written_over(tiny_model: Callable[[str], Path]) -> None:
    model = str(tiny_model("llama"))
    with pytest.raises(RecipeError, match="not empty"):
        run([model, model, "--blocks", "3"])
    with pytest.raises(RecipeError, match="hone expand MODEL FOLDER"):
        run([model])
