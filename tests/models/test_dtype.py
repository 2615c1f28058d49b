"""The rules of number formats, on the devices a run may meet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import MachineError, RecipeError
from hone.models import dtype as rules
from hone.models.device import choose_device
from hone.models.dtype import inference_dtype, settle_dtype, stored_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


@pytest.fixture
def modern(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card, or a processor, that computes in bfloat16."""
    monkeypatch.setattr(rules, "can_bfloat16", lambda device: True)
    monkeypatch.setattr(rules, "fast_bfloat16", lambda device: True)


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without bfloat16."""
    monkeypatch.setattr(rules, "can_bfloat16", lambda device: False)
    monkeypatch.setattr(rules, "fast_bfloat16", lambda device: False)


@pytest.mark.usefixtures("modern")
@pytest.mark.parametrize(
    ("device", "wishes", "weights", "autocast", "trainable"),
    [
        (CPU, {}, FP32, None, FP32),
        (CPU, {"stored": FP32}, FP32, None, FP32),
        (CPU, {"stored": BF16}, BF16, BF16, FP32),
        (CPU, {"stored": FP16}, FP32, None, FP32),
        (CPU, {"bf16": True, "stored": FP32}, BF16, BF16, FP32),
        (CPU, {"bf16": True, "all_weights_train": True}, FP32, BF16, FP32),
        (CPU, {"pure_bf16": True, "all_weights_train": True}, BF16, None, BF16),
        (CPU, {"fp16": True, "stored": BF16}, FP32, None, FP32),
        (CUDA, {"stored": BF16}, BF16, BF16, FP32),
        (CUDA, {"stored": FP16}, FP16, FP16, FP32),
        (CUDA, {"fp16": True, "stored": BF16}, FP16, FP16, FP32),
        (CUDA, {"fp16": True, "stored": FP32}, FP32, FP16, FP32),
        (CUDA, {"fp16": True, "all_weights_train": True}, FP32, FP16, FP32),
        (CUDA, {"bf16": True, "stored": FP32}, BF16, BF16, FP32),
    ],
)
def test_weights_computation_and_training_each_have_their_format(
    device: torch.device, wishes: dict[str, Any], weights: torch.dtype, autocast: torch.dtype | None,
    trainable: torch.dtype,
) -> None:  # fmt: skip
    plan = settle_dtype(device, **wishes)
    assert (plan.weights, plan.autocast, plan.trainable) == (weights, autocast, trainable)
    assert plan.arguments == {"fp16": autocast == FP16, "bf16": autocast == BF16}


@pytest.mark.parametrize("wish", ["bf16", "pure_bf16"])
@pytest.mark.parametrize("fast", [True, False])
def test_slow_bfloat16_is_done_and_said(wish: str, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "fast_bfloat16", lambda device: fast)
    plan = settle_dtype(CPU, **{wish: True})
    assert plan.weights == BF16
    assert ["no instructions" in note for note in plan.notes] == ([] if fast else [True])
    assert settle_dtype(CPU).notes == ()


def test_fp16_on_a_processor_is_said_once_and_computed_in_float32() -> None:
    plan = settle_dtype(CPU, fp16=True)
    assert len(plan.notes) == 1
    assert "float32 on cpu" in plan.notes[0]


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("wish", ["bf16", "pure_bf16"])
def test_bfloat16_where_it_cannot_be_is_refused(wish: str) -> None:
    with pytest.raises(MachineError, match=f"bfloat16: {wish}: use fp16"):
        settle_dtype(CUDA, **{wish: True})


@pytest.mark.usefixtures("old")
def test_a_bfloat16_checkpoint_on_an_old_card_is_read_in_float16() -> None:
    assert settle_dtype(CUDA, stored=BF16).weights == FP16
    assert inference_dtype(CUDA, stored=BF16) == FP16
    assert inference_dtype(CPU, stored=BF16) == FP32


def test_two_wishes_exclude_each_other() -> None:
    with pytest.raises(RecipeError, match="bf16 and fp16 exclude each other"):
        settle_dtype(CPU, bf16=True, fp16=True)


def test_inference_takes_the_named_format() -> None:
    assert inference_dtype(CPU, name="bfloat16", stored=FP32) == BF16
    assert inference_dtype(CPU, stored=FP32) == FP32


@pytest.mark.parametrize(
    ("config", "found"),
    [({"dtype": "bfloat16"}, BF16), ({"torch_dtype": "torch.float16"}, FP16), ({}, None), ({"dtype": "nonsense"}, None),
     ({"text_config": {"dtype": "float32"}}, FP32), ([], None)],
)  # fmt: skip
def test_the_stored_format_is_what_the_config_names(tmp_path: Path, config: Any, found: torch.dtype | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert stored_dtype(tmp_path) == found


def test_the_processor_can_be_forced() -> None:
    assert choose_device(use_cpu=True) == CPU
