"""Tuners: what learns, in which precision, and what is said when a name fits nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import ModelError
from hone.models.load import load_model
from hone.models.targets import all_linear
from hone.models.tuners import attach, count_parameters
from hone.recipe import FinetuningSection, ModelSection

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma3")
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def tune(folder: Path, *, dtype: torch.dtype = torch.float32, training: bool = True, **wishes: Any) -> Any:
    section = ModelSection(model_name_or_path=str(folder))
    model = load_model(section, dtype=dtype, device=torch.device("cpu"))
    return attach(model, FinetuningSection(**wishes), section, training=training)


def learning(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_on_all_is_every_linear_layer_but_the_head(tiny_model: Callable[[str], Path], family: str) -> None:
    model = tune(tiny_model(family))
    config = model.peft_config["default"]
    assert set(config.target_modules) == LINEAR
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 16, 0.0)
    names = learning(model)
    assert len(names) == 2 * len(LINEAR) * 3
    assert all("lora_A" in name or "lora_B" in name for name in names)
    assert model.training


def test_fused_layers_count_too(tiny_model: Callable[[str], Path]) -> None:
    model = tune(tiny_model("phi3"))
    assert set(model.peft_config["default"].target_modules) == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}


def test_a_name_that_the_head_shares_is_written_out(folder: Path) -> None:
    model = load_model(ModelSection(model_name_or_path=str(folder)), dtype=torch.float32, device=torch.device("cpu"))
    model.model.layers[0].mlp.lm_head = torch.nn.Linear(4, 4)
    assert "model.layers.0.mlp.lm_head" in all_linear(model)
    assert "lm_head" not in all_linear(model)


def test_lora_with_names_and_options(folder: Path) -> None:
    model = tune(folder, lora_target=("q_proj", "v_proj"), lora_rank=4, lora_alpha=4, lora_dropout=0.1, use_rslora=True)
    config = model.peft_config["default"]
    assert set(config.target_modules) == {"q_proj", "v_proj"}
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == 4 / 4**0.5
    assert layer.lora_A["default"].weight.shape == (4, 64)
    assert layer.lora_dropout["default"].p == 0.1
    assert learning(tune(folder, lora_target=("q_proj",), use_dora=True)) >= {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.default.weight"
    }


def test_a_fresh_adapter_changes_nothing_yet(folder: Path) -> None:
    ids = torch.tensor([[1, 5, 9, 200]])
    plain = load_model(ModelSection(model_name_or_path=str(folder)), dtype=torch.float32, device=torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(tune(folder)(ids).logits, plain(ids).logits)


def test_names_that_fit_nothing_are_all_told_with_those_that_do(folder: Path) -> None:
    with pytest.raises(ModelError) as caught:
        tune(folder, lora_target=("q_prj", "W_pack"))
    assert len(caught.value.faults) == 2
    assert "did you mean q_proj?" in str(caught.value)
    assert "down_proj, embed_tokens, gate_proj, k_proj, lm_head" in str(caught.value)
    with pytest.raises(ModelError, match=r"'head': additional_target: .*embed_tokens.*norm"):
        tune(folder, additional_target=("head",))


def test_additional_targets_learn_whole(tiny_model: Callable[[str], Path]) -> None:
    names = learning(tune(tiny_model("llama"), additional_target=("embed_tokens", "lm_head")))
    whole = {name for name in names if "modules_to_save" in name}
    assert len(whole) == 2
    tied = tune(tiny_model("llama_tied"), additional_target=("embed_tokens",))
    assert tied.get_input_embeddings().weight is tied.get_output_embeddings().weight


@pytest.mark.parametrize(("wishes", "wanted"), [({}, torch.float32), ({"pure_bf16": True}, torch.bfloat16)])
@pytest.mark.parametrize("tuner", ["lora", "freeze", "full"])
def test_what_learns_is_float32_unless_pure_bf16(
    folder: Path, tuner: str, wishes: dict[str, Any], wanted: torch.dtype
) -> None:
    model = tune(folder, dtype=torch.bfloat16, finetuning_type=tuner, **wishes)
    parameters = list(model.parameters())
    assert {p.dtype for p in parameters if p.requires_grad} == {wanted}
    assert {p.dtype for p in parameters if not p.requires_grad} <= {torch.bfloat16}


@pytest.mark.parametrize(
    "wishes",
    [{"additional_target": ("norm", "lm_head")}, {"use_dora": True}, {"finetuning_type": "freeze"},
     {"finetuning_type": "full", "pure_bf16": True}],
)  # fmt: skip
def test_half_precision_weights_and_what_learns_work_together(folder: Path, wishes: dict[str, Any]) -> None:
    pure = wishes.get("pure_bf16", False)
    model, ids = tune(folder, dtype=torch.bfloat16, **wishes), torch.tensor([[1, 5, 9, 200]])
    with torch.autocast("cpu", torch.bfloat16, enabled=not pure):
        model(input_ids=ids, labels=ids).loss.backward()
    learns = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in learns)


def test_full_is_everything(folder: Path) -> None:
    model = tune(folder, finetuning_type="full")
    learns, every = count_parameters(model)
    assert learns == every == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("count", "layers"), [(1, {2}), (2, {1, 2}), (3, {0, 1, 2}), (-1, {0}), (-2, {0, 1})])
def test_freeze_takes_the_last_or_the_first_blocks(folder: Path, count: int, layers: set[int]) -> None:
    names = learning(tune(folder, finetuning_type="freeze", freeze_trainable_layers=count))
    assert {int(name.split(".")[2]) for name in names} == layers
    assert len(names) == 9 * len(layers)


def test_freeze_takes_parts_of_blocks_and_modules_outside(folder: Path) -> None:
    names = learning(
        tune(
            folder,
            finetuning_type="freeze",
            freeze_trainable_layers=1,
            freeze_trainable_modules=("mlp", "q_proj"),
            freeze_extra_modules=("norm", "lm_head"),
        )
    )
    inside = {f"model.layers.2.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    assert names == inside | {"model.layers.2.self_attn.q_proj.weight", "model.norm.weight", "lm_head.weight"}


def test_freeze_tells_all_wrong_choices_with_the_right_ones(folder: Path) -> None:
    with pytest.raises(ModelError) as caught:
        tune(
            folder,
            finetuning_type="freeze",
            freeze_trainable_layers=4,
            freeze_trainable_modules=("atention",),
            freeze_extra_modules=("mlp", "model"),
        )
    said = [str(fault) for fault in caught.value.faults]
    assert len(said) == 4
    assert "the model has 3 blocks, 4 cannot learn" in said[0]
    assert "'atention'" in said[1]
    assert "self_attn" in said[1]
    assert "choose from embed_tokens, lm_head, norm" in said[2]


def test_the_count_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune(folder, lora_target=("q_proj",), lora_rank=2)
    assert "trainable parameters: 768 of " in capsys.readouterr().err


@pytest.mark.parametrize("tuner", ["lora", "freeze", "full"])
def test_without_training_nothing_learns(folder: Path, tuner: str) -> None:
    model = tune(folder, finetuning_type=tuner, training=False)
    assert learning(model) == set()
    assert not model.training
