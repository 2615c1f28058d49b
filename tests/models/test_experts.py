"""Mixtures of experts: experts as targets of an adapter, names that miss them, and the loss of their balance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import ModelError
from hone.models.load import load_model
from hone.models.save import save_model
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection

IDS = torch.tensor([[1, 5, 9, 200, 33, 44]])
ROW = {"input_ids": IDS, "labels": IDS, "position_ids": torch.arange(6)[None], "cu_seqlens": torch.tensor([0, 6]).int()}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    folder = tmp_path_factory.mktemp("experts")
    config = Qwen3MoeConfig(
        vocab_size=256, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, num_experts=4, num_experts_per_tok=2,
        max_position_embeddings=128,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def load(folder: Path, *adapters: Path, training: bool = True, tuning: Any = None, **wishes: Any) -> Any:
    section = ModelSection(model_name_or_path=str(folder), adapter_name_or_path=tuple(map(str, adapters)), **wishes)
    model = load_model(section, dtype=torch.float32, device=torch.device("cpu"), training=training)
    return attach(model, tuning or FinetuningSection(), section, training=training)


def test_all_leaves_the_experts_out_and_says_how_to_have_them(mixture: Path, capsys: Any) -> None:
    names = [name for name, p in load(mixture).named_parameters() if p.requires_grad]
    assert names
    assert not any("experts" in name for name in names)
    assert "name them to adapt them (down_proj, gate_up_proj)" in capsys.readouterr().err


def test_experts_learn_when_named_and_merge_to_the_same_answers(mixture: Path, tmp_path: Path) -> None:
    tuning = FinetuningSection(lora_target=("q_proj", "gate_up_proj", "down_proj"))
    model = load(mixture, tuning=tuning)
    model(input_ids=IDS, labels=IDS).loss.backward()
    learned = {name for name, p in model.named_parameters() if p.requires_grad and "experts" in name}
    assert len(learned) == 2 * 2 * 2
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter) * 0.05)
        expected = model.eval()(IDS).logits
        save_model(model, None, tmp_path)
        merged = load(mixture, tmp_path, training=False)
        assert not hasattr(merged, "peft_config")
        assert torch.allclose(merged(IDS).logits, expected, atol=1e-5)
        again = load(mixture, tmp_path)
        assert torch.equal(again.eval()(IDS).logits, expected)


@pytest.mark.parametrize("name", ["gate_proj", "w1", "experts.up_proj"])
def test_names_that_miss_the_experts_are_refused(mixture: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"no expert weight is called .*experts have down_proj, gate_up_proj"):
        load(mixture, tuning=FinetuningSection(lora_target=("q_proj", name)))


def test_the_balance_of_experts_is_part_of_the_loss(mixture: Path) -> None:
    from hone.models.attention import use_packed_attention
    from hone.stages.sft import Stage

    stage, losses = Stage(FinetuningSection()), {}
    for weight in (None, 0.0, 0.5):
        model = load(mixture, tuning=FinetuningSection(finetuning_type="full"), moe_aux_loss_coef=weight)
        use_packed_attention(model)
        found = stage.loss(model, ROW)
        found.total.backward()
        losses[weight] = found.total.item(), model.model.layers[0].mlp.gate.weight.grad.clone(), found.count
        with torch.no_grad():
            losses[weight, "eval"] = stage.loss(model.eval(), ROW).total.item()
    plain, _, count = losses[None]
    assert losses[0.0][0] == plain
    output = load(mixture, moe_aux_loss_coef=0.5)(input_ids=IDS, output_router_logits=True)
    assert losses[0.5][0] == pytest.approx(plain + 0.5 * output.aux_loss.item() * count, rel=1e-5)
    assert not torch.allclose(losses[0.5][1], losses[None][1])
    assert losses[0.5, "eval"] == pytest.approx(losses[None, "eval"])


def test_a_model_without_experts_has_no_balance(folder: Path) -> None:
    with pytest.raises(ModelError, match="no router"):
        load(folder, moe_aux_loss_coef=0.1)
