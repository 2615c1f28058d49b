"""The loss at the labels equals cross-entropy over full logits, in value and gradients, for each kind of head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

from hone.models import heads
from hone.models.attention import isolates, use_packed_attention
from hone.models.heads import IGNORED, label_loss

SHAPE: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "max_position_embeddings": 64,
}
WINDOW = {"sliding_window": 4}
MIXED = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 8}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama, tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {}),
    "gemma2, softcapped": ("Gemma2Config", MIXED),
    "gemma3": ("Gemma3TextConfig", MIXED),
    "mistral, windowed": ("MistralConfig", WINDOW),
    "phi3": ("Phi3Config", {}),
    "granite, scaled": ("GraniteConfig", {"logits_scaling": 3.0}),
    "cohere, scaled": ("CohereConfig", {}),
    "gpt-oss, sinks": ("GptOssConfig", {**WINDOW, "num_local_experts": 2, "num_experts_per_tok": 1}),
}
LENGTHS = (7, 12, 5)


def tiny(family: str, implementation: str = "eager") -> Any:
    name, extra = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, name)(**{**SHAPE, **extra})
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation=implementation)


def flattened() -> dict[str, torch.Tensor]:
    maker = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 99, (1, sum(LENGTHS)), generator=maker)
    labels = ids.clone()
    labels[torch.rand(labels.shape, generator=maker) < 0.3] = IGNORED
    borders = torch.tensor([0, 7, 19, 24], dtype=torch.int32)
    labels[0, borders[:-1].long()] = IGNORED
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "cu_seqlens": borders}


def row_by_row(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Full logits of each row alone."""
    ids, labels = batch["input_ids"].split(LENGTHS, 1), batch["labels"][0].split(LENGTHS)
    losses = [
        functional.cross_entropy(model(input_ids=row).logits[0, :-1].float(), label[1:], reduction="sum")
        for row, label in zip(ids, labels, strict=True)
    ]
    return torch.stack(losses).sum()


def slopes(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        torch.testing.assert_close(
            found[name], wanted, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CHUNK", 5)


@pytest.mark.parametrize("packed", [False, True], ids=["as loaded", "by segments"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_give_the_loss_and_gradients_of_rows_alone(family: str, packed: bool) -> None:
    model, batch = tiny(family), flattened()
    alone = row_by_row(model, batch)
    expected = slopes(model, alone)
    if packed:
        assert use_packed_attention(model) == "segments"
    loss, count = label_loss(model, batch)
    assert count == int((batch["labels"] != IGNORED).sum())
    torch.testing.assert_close(loss, alone, rtol=1e-5, atol=1e-5)
    assert_same(slopes(model, loss), expected)


def test_sdpa_with_the_block_mask_of_the_library_is_exact_too() -> None:
    model, batch = tiny("llama", "sdpa"), flattened()
    alone = row_by_row(model, batch)
    expected = slopes(model, alone)
    assert_same(slopes(model, label_loss(model, batch)[0]), expected)


def test_an_architecture_that_lets_packed_rows_see_each_other_runs_them_one_by_one() -> None:
    model = tiny("gpt-oss, sinks")
    assert not isolates(model)
    assert use_packed_attention(model) == "segments" and isolates(model)


@pytest.mark.parametrize("on_the_head", [{"modules_to_save": ["lm_head"]}, {"target_modules": ["q_proj", "lm_head"]}])
def test_a_head_that_peft_changed_learns_as_with_full_logits(on_the_head: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model

    settings = {"target_modules": ["q_proj"], **on_the_head}
    model, batch = get_peft_model(tiny("llama"), LoraConfig(r=4, init_lora_weights=False, **settings)), flattened()
    alone = row_by_row(model, batch)
    expected = slopes(model, alone)
    assert any("lm_head" in name for name in expected)
    loss, _ = label_loss(model, batch)
    torch.testing.assert_close(loss, alone, rtol=1e-5, atol=1e-5)
    assert_same(slopes(model, loss), expected)


def test_an_unknown_way_from_head_to_logits_falls_back_to_full_logits() -> None:
    model, batch = tiny("llama"), flattened()
    plain = type(model).forward

    def bent(*arguments: Any, **options: Any) -> Any:
        answer = plain(model, *arguments, **options)
        answer.logits = answer.logits * 2
        return answer

    model.forward = bent
    alone = row_by_row(model, batch)
    torch.testing.assert_close(label_loss(model, batch)[0], alone, rtol=1e-5, atol=1e-5)


def test_without_gradients_the_loss_is_the_same_and_the_head_is_left_as_it_was() -> None:
    model, batch = tiny("llama"), flattened()
    with torch.no_grad():
        loss, _ = label_loss(model, batch)
    torch.testing.assert_close(loss, row_by_row(model, batch).detach(), rtol=1e-5, atol=1e-5)
    assert "forward" not in model.lm_head.__dict__


def test_a_batch_without_labels_gives_zero_and_no_count() -> None:
    model, batch = tiny("llama"), flattened()
    batch["labels"] = torch.full_like(batch["labels"], IGNORED)
    loss, count = label_loss(model, batch)
    loss.backward()
    assert (float(loss.detach()), count) == (0.0, 0)
