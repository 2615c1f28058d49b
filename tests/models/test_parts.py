"""Models that see: which parts there are, and which of them learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hone.errors import ModelError
from hone.models.parts import parts_of
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def llava() -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SMALL, image_size=16, patch_size=8),
        text_config=LlamaConfig(**SMALL, vocab_size=128),
        image_token_index=5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlavaForConditionalGeneration(config)


def learning(**wishes: Any) -> set[str]:
    model = attach(llava(), FinetuningSection(**wishes), ModelSection(), training=True)
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    kinds = {"vision_tower": "tower", "multi_modal_projector": "projector", "language_model": "language"}
    found = {kind for name in names for word, kind in kinds.items() if word in name}
    return found | {"language" for name in names if "lm_head" in name}


def test_the_parts_are_found_by_name(tiny_model: Any) -> None:
    parts = parts_of(llava())
    assert [name.rsplit(".", 1)[-1] for name in (*parts["tower"], *parts["projector"])] == [
        "vision_tower", "multi_modal_projector",
    ]  # fmt: skip
    assert {name.rsplit(".", 1)[-1] for name in parts["language"]} == {"language_model", "lm_head"}


@pytest.mark.parametrize(
    ("wishes", "parts"),
    [
        ({}, {"language"}),
        ({"freeze_vision_tower": False}, {"language", "tower"}),
        ({"freeze_multi_modal_projector": False}, {"language", "projector"}),
        ({"freeze_language_model": True, "freeze_multi_modal_projector": False}, {"projector"}),
    ],
)
@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_only_the_parts_that_may_learn_do(tuner: str, wishes: dict[str, Any], parts: set[str]) -> None:
    assert learning(finetuning_type=tuner, **wishes) == parts


def test_a_model_of_text_has_no_parts_to_freeze(folder: Any) -> None:
    from hone.models.load import load_model

    section = ModelSection(model_name_or_path=str(folder))
    model = load_model(section, dtype=torch.float32, device=torch.device("cpu"))
    assert parts_of(model) == {"projector": [], "tower": [], "language": []}
    model = attach(model, FinetuningSection(finetuning_type="full", freeze_language_model=True), section, training=True)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("layer", "left"), [(-2, {"0"}), (1, {"0"}), ([-1, 0], {"0", "1"}), (-3, set())])
def test_what_lies_behind_the_layer_that_is_read_stands_still(layer: Any, left: set[str]) -> None:
    model = llava()
    model.config.vision_feature_layer = layer
    attach(model, FinetuningSection(finetuning_type="full", freeze_vision_tower=False), ModelSection(), training=True)
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".layers.")[1][0] for name in learned if "encoder.layers" in name} == left
    assert not any("post_layernorm" in name for name in learned)


@pytest.mark.parametrize("tuner", ["full", "freeze", "lora", "lora by names"])
def test_all_of_a_tower_that_is_to_learn_gets_a_gradient(tuner: str) -> None:
    words = {"finetuning_type": tuner.split()[0], "freeze_vision_tower": False, "freeze_trainable_layers": 2}
    if tuner == "lora by names":
        words["lora_target"] = ("q_proj", "fc1")
    model = attach(llava(), FinetuningSection(**words), ModelSection(), training=True)
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any("vision_tower" in name for name in learned)
    ids = torch.tensor([[7, *[5] * 4, 9, 11]])
    model(input_ids=ids, labels=ids, pixel_values=torch.randn(1, 3, 16, 16)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_names_do_not_reach_into_parts_that_stand_still() -> None:
    model = attach(llava(), FinetuningSection(lora_target=("q_proj",)), ModelSection(), training=True)
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learned
    assert all("language_model" in name for name in learned)
    with pytest.raises(ModelError, match=r"called 'fc1' lies in a part that does not learn.*\n?.*freeze_vision_tower"):
        attach(llava(), FinetuningSection(lora_target=("q_proj", "fc1")), ModelSection(), training=True)
