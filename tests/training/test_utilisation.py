"""The operations of a training: what learns costs 6 a weight, what is frozen below it 4, the head only at labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.data.batch import collate
from hone.training.pace import Pace
from hone.training.utilisation import Arithmetic, arithmetic_of, peak_of, speeds

HIDDEN, WIDE, LAYERS, KEYS, WORDS = 64, 96, 3, 32, 512
BLOCK = HIDDEN * HIDDEN * 2 + HIDDEN * KEYS * 2 + 3 * HIDDEN * WIDE
HEAD = HIDDEN * WORDS
PAIRS = 6 * LAYERS * HIDDEN


@pytest.fixture
def model(tiny_model: Callable[[str], Path]) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model("llama"))


def test_whole_weights_cost_six(model: Any) -> None:
    assert arithmetic_of(model) == Arithmetic(6 * LAYERS * BLOCK, 6 * HEAD, PAIRS)


def test_frozen_weights_under_an_adapter_cost_four(model: Any) -> None:
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    found = arithmetic_of(tuned)
    adapters = LAYERS * 2 * (HIDDEN + HIDDEN)
    # No gradient is asked for at the first projection, below which nothing learns.
    assert found.token == 4 * LAYERS * BLOCK + 6 * adapters - 2 * HIDDEN * HIDDEN
    assert found.label == 4 * HEAD


def test_blocks_below_the_first_that_learns_cost_two(model: Any) -> None:
    model.requires_grad_(False)
    model.model.layers[-1].requires_grad_(True)
    assert arithmetic_of(model).token == 2 * (LAYERS - 1) * BLOCK + 6 * BLOCK


def test_a_batch_counts_its_tokens_its_labels_and_its_pairs(random_examples: Callable[..., Any]) -> None:
    batch = collate(random_examples(3))
    lengths = batch["cu_seqlens"].diff()
    labels = int((batch["labels"] != -100).sum())
    assert Arithmetic(1, 0, 0).of(batch) == lengths.sum()
    assert Arithmetic(0, 1, 0).of(batch) == labels
    assert Arithmetic(0, 0, 1).of(batch) == (lengths**2).sum()
    assert Arithmetic(0, 0, 1, window=2).of(batch) == (2 * lengths).sum()


def test_a_run_says_its_speed_and_the_share_of_the_peak() -> None:
    device = torch.device("cpu")
    assert peak_of(device, torch.float32) > 1e8
    found = speeds(Pace(tokens=100, operations=1e9), seconds=10, device=device, dtype=torch.float32)
    assert found["effective_tokens_per_sec"] == 10
    assert found["model_tflops_per_sec"] == pytest.approx(1e-4)
    assert 0 < found["mfu"] < 1
