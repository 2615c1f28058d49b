"""Attention by segments: where it applies, where it hands over to the library, and that long rows cross its blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

from hone.models import segments
from hone.models.attention import use_packed_attention
from hone.models.segments import Layout, Rules, SegmentAttention


def tiny(**extra: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, **extra,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("window", [None, 5])
def test_segments_longer_than_a_block_are_exact(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "BLOCK", 4)
    torch.manual_seed(0)
    query, key, value = (torch.randn(heads, 23, 8, requires_grad=True) for heads in (4, 2, 2))
    place, row = torch.arange(23), (torch.arange(23) >= 10).long()
    seen = (place[:, None] >= place) & (row[:, None] == row)
    seen &= (place[:, None] - place) < (window or 99)
    wide = (tensor.repeat_interleave(2, 0) for tensor in (key, value))
    expected = functional.scaled_dot_product_attention(query, *wide, attn_mask=seen)
    found = SegmentAttention.apply(query, key, value, None, Layout((0, 10, 23)), Rules(8**-0.5, window))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    seed = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (query, key, value), seed)
    for got, want in zip(torch.autograd.grad(found, (query, key, value), seed), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_dropout_in_the_attention_keeps_the_library_path() -> None:
    model = tiny(attention_dropout=0.1)
    assert "attention dropout" in use_packed_attention(model)
    assert model.config._attn_implementation == "sdpa"


def test_generation_and_padded_batches_answer_as_before() -> None:
    model = tiny().eval()
    ids = torch.tensor([[5, 6, 7, 8, 9], [0, 0, 7, 8, 9]])
    mask = (ids != 0).long()
    logits = model(input_ids=ids, attention_mask=mask).logits
    settings = {"attention_mask": mask[:1], "max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    answer = model.generate(ids[:1], **settings)
    assert use_packed_attention(model) == "segments"
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits[mask.bool()], logits[mask.bool()])
    assert torch.equal(model.generate(ids[:1], **settings), answer)
