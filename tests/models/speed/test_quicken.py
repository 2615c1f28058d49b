"""Blocks by hand change nothing: loss, gradients, names and values; what is not understood is left alone."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from hone.models.attention import use_packed_attention
from hone.models.heads import IGNORED, label_loss
from hone.models.speed import pointwise, quicken

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama with biases": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {}),
    "mistral": ("MistralConfig", {"sliding_window": 4}),
    "phi3": ("Phi3Config", {}),
}
SHAPE: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "max_position_embeddings": 64,
}


def tuned(family: str = "llama", dtype: torch.dtype = torch.float32, **lora: Any) -> Any:
    name, extra = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, name)(**{**SHAPE, **extra})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    settings = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False, **lora}
    model = get_peft_model(model, LoraConfig(**settings))
    use_packed_attention(model)
    return model


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 99, (1, 24), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[0, [0, 7, 19, 20]] = IGNORED
    positions = torch.cat([torch.arange(length) for length in (7, 12, 5)])[None]
    borders = torch.tensor([0, 7, 19, 24], dtype=torch.int32)
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "cu_seqlens": borders}


def answers(model: Any, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        loss, _ = label_loss(model, batch())
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("memory", [None, 0], ids=["kept", "made again"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_plain_path(family: str, memory: int | None) -> None:
    model = tuned(family)
    loss, slopes = answers(model)
    done = quicken(model, memory=memory)
    assert (done.blocks, done.reasons) == (3, ())
    quick_loss, quick_slopes = answers(model)
    torch.testing.assert_close(quick_loss, loss, rtol=1e-5, atol=1e-5)
    assert quick_slopes.keys() == slopes.keys()
    for name, wanted in slopes.items():
        torch.testing.assert_close(quick_slopes[name], wanted, rtol=1e-4, atol=1e-4)


def test_half_precision_stays_as_near_to_float32_as_the_plain_path() -> None:
    exact, _ = answers(tuned())
    model = tuned(dtype=torch.bfloat16)
    plain, slopes = answers(model, torch.bfloat16)
    assert quicken(model).blocks == 3
    quick, quick_slopes = answers(model, torch.bfloat16)
    assert abs(quick - exact) <= abs(plain - exact) + 0.02 * abs(exact)
    assert all(slope.dtype == slopes[name].dtype for name, slope in quick_slopes.items())


def test_the_state_is_the_same_before_and_after() -> None:
    model = tuned()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quicken(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_weights_are_not_held_twice() -> None:
    model = tuned()
    quicken(model)
    attention = model.base_model.model.model.layers[0].self_attn
    places = {getattr(attention, name).base_layer.weight.untyped_storage().data_ptr() for name in ("q_proj", "v_proj")}
    assert len(places) == 1


def test_adapters_off_or_merged_are_followed() -> None:
    model = tuned()
    with model.disable_adapter():
        plain = label_loss(model, batch())[0].detach()
    tuned_loss = label_loss(model, batch())[0].detach()
    quicken(model)
    with model.disable_adapter():
        torch.testing.assert_close(label_loss(model, batch())[0].detach(), plain, rtol=1e-5, atol=1e-5)
    model.merge_adapter()
    torch.testing.assert_close(label_loss(model, batch())[0].detach(), tuned_loss, rtol=1e-4, atol=1e-4)


def test_generation_uses_the_plain_path_and_answers_the_same() -> None:
    model = tuned().eval()
    ids = torch.tensor([[5, 6, 7]])
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    before = model.generate(input_ids=ids, **settings)
    quicken(model)
    assert torch.equal(model.generate(input_ids=ids, **settings), before)


@pytest.mark.parametrize(
    ("lora", "reason"),
    [({"lora_dropout": 0.1}, "dropout"), ({"use_dora": True}, "DoRA"), ({"lora_bias": True}, "bias")],
)
def test_what_is_not_understood_is_left_alone_with_the_reason(lora: dict[str, Any], reason: str) -> None:
    model = tuned(**lora)
    done = quicken(model)
    assert done.blocks == 0 and reason in done.reasons[0]
    assert all("forward" not in layer.__dict__ for layer in model.base_model.model.model.layers)


def test_full_tuning_is_left_alone() -> None:
    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SHAPE))
    use_packed_attention(model)
    assert quicken(model).blocks == 0


def test_a_block_that_answers_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tuned()
    loss, _ = answers(model)
    right = pointwise.norm_backward
    monkeypatch.setattr(pointwise, "norm_backward", lambda *given: right(*given) * 1.01)
    done = quicken(model)
    assert done.blocks == 0 and "otherwise" in done.reasons[0]
    torch.testing.assert_close(answers(model)[0], loss)


def test_a_block_is_proven_unless_one_of_its_kind_has_been(monkeypatch: pytest.MonkeyPatch) -> None:
    proven: list[Any] = []
    module = sys.modules["hone.models.speed.quicken"]
    right = module.prove
    monkeypatch.setattr(module, "prove", lambda layer, *paths: (proven.append(layer), right(layer, *paths)))
    model = tuned()
    layers = model.get_base_model().model.layers
    layers[1].input_layernorm.variance_epsilon = 1e-3
    layers[2].mlp.register_forward_hook(lambda *_: None)
    assert quicken(model).blocks == 3 and proven == list(layers)
    proven.clear()
    assert quicken(tuned()).blocks == 3 and len(proven) == 1
