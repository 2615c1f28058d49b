"""Small random models with weights large enough that a wrong layout changes every answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

ROTARY = {"rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    "initializer_range": 0.35,
}
SHARP: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama_tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "llama_3_1": (
        "LlamaConfig",
        {"rope_parameters": {"rope_type": "llama3", "original_max_position_embeddings": 64, **ROTARY}},
    ),
    "llama_linear": (
        "LlamaConfig",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "mistral": ("MistralConfig", {}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 32}),
    "gemma3": (
        "Gemma3TextConfig",
        {
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "tie_word_embeddings": True,
            "sliding_window": 16,
            "num_hidden_layers": 7,
        },
    ),
    "phi3": ("Phi3Config", {}),
    "smollm3": ("SmolLM3Config", {"num_hidden_layers": 5}),
}


@pytest.fixture(scope="session")
def sharp_model(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`sharp_model("qwen3")` is a folder with such a model; another tokenizer may be given with it."""
    import transformers

    @functools.cache
    def make(family: str, tokenizer: Any = None) -> Path:
        words = tokenizer or transformers.AutoTokenizer.from_pretrained(tiny_model("llama"))
        name, changes = SHARP[family]
        config = getattr(transformers, name)(**{"vocab_size": -(-len(words) // 64) * 64, **SHAPE, **changes})
        folder = tmp_path_factory.mktemp(family)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
            for place, weight in model.named_parameters():
                if "norm" in place:
                    weight.data += torch.randn_like(weight) * 0.1
                elif place.endswith("bias"):
                    weight.data.normal_(std=0.3)
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        return folder

    return make
