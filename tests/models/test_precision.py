"""Norms and logits in float32, the list of parameters, and kernels that are refused where they do not run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import MachineError
from hone.models.liger import apply_liger
from hone.models.load import load_model
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection


def tuned(folder: Path, **wishes: Any) -> Any:
    section = ModelSection(model_name_or_path=str(folder), **wishes)
    model = load_model(section, dtype=torch.bfloat16, device=torch.device("cpu"))
    return attach(model, FinetuningSection(), section, training=True)


def test_norms_are_held_in_float32_when_asked(folder: Path) -> None:
    def norms(model: Any) -> set[torch.dtype]:
        return {p.dtype for name, p in model.named_parameters() if "norm" in name}

    assert norms(tuned(folder)) == {torch.bfloat16}
    assert norms(tuned(folder, upcast_layernorm=True)) == {torch.float32}


def test_the_head_answers_in_float32_when_asked(folder: Path) -> None:
    ids = torch.tensor([[1, 5, 9]])
    for wish, dtype in ((False, torch.bfloat16), (True, torch.float32)):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert tuned(folder, upcast_lmhead_output=wish)(ids).logits.dtype == dtype


def test_whole_weights_learn_under_autocast(folder: Path) -> None:
    """Rotary positions make float32 of queries and keys there, while values are bf16."""
    from transformers import AutoModelForCausalLM

    from hone.models.attention import use_packed_attention
    from hone.models.heads import label_loss

    model = AutoModelForCausalLM.from_pretrained(folder).train()
    use_packed_attention(model)
    ids = torch.arange(5, 25)[None]
    batch = {
        "input_ids": ids, "labels": ids.clone(), "position_ids": torch.arange(20)[None],
        "cu_seqlens": torch.tensor([0, 8, 20], dtype=torch.int32),
    }  # fmt: skip
    plain, count = label_loss(model, batch)
    plain.backward()
    wanted = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, _ = label_loss(model, batch)
    rounded.backward()
    assert rounded.item() / count == pytest.approx(plain.item() / count, rel=0.02)
    for name, weight in model.named_parameters():
        if name in wanted:
            assert (weight.grad - wanted[name]).norm() < 0.1 * wanted[name].norm(), name


def test_every_parameter_is_listed_when_asked(folder: Path, capsys: Any) -> None:
    model = tuned(folder, print_param_status=True)
    said = capsys.readouterr().err
    assert said.count("torch.float32") + said.count("torch.bfloat16") >= len(list(model.parameters()))
    assert "learns" in said
    assert "stays" in said


def test_liger_is_refused_where_it_cannot_run(folder: Path) -> None:
    with pytest.raises(MachineError, match="do not run on cpu"):
        apply_liger(tuned(folder), torch.device("cpu"))
    if importlib.util.find_spec("liger_kernel") is None:
        with pytest.raises(MachineError, match="pip install liger-kernel"):
            apply_liger(tuned(folder), torch.device("cuda"))
