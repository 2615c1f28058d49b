"""Saving: whole weights and tokenizer come back the same, files appear whole, and a full disk is said plainly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hone.errors import MachineError
from hone.models.load import load_model
from hone.models.save import save_model
from hone.models.tokenizer import load_tokenizer
from hone.recipe import ModelSection


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return load_model(ModelSection(model_name_or_path=str(folder)), dtype=dtype, device=torch.device("cpu"))


@pytest.mark.parametrize("family", ["llama", "llama_tied", "gemma3", "phi3"])
def test_a_saved_model_comes_back_the_same(
    tiny_model: Callable[[str], Path], same_weights: Callable[[Any, Any], None], tmp_path: Path, family: str
) -> None:
    model, tokenizer = (
        load(tiny_model(family)),
        load_tokenizer(ModelSection(model_name_or_path=str(tiny_model(family)))),
    )
    save_model(model, tokenizer, tmp_path / "out")
    same_weights(load(tmp_path / "out"), model)
    again = load_tokenizer(ModelSection(model_name_or_path=str(tmp_path / "out")))
    assert again("Hello 世界<|im_end|>").input_ids == tokenizer("Hello 世界<|im_end|>").input_ids
    assert again.chat_template == tokenizer.chat_template
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert not [name for name in names if name.endswith((".bin", ".pt")) or name.startswith(".")]


def test_tied_weights_are_written_once(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    save_model(load(tiny_model("llama_tied")), None, tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    model = load(tmp_path)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_weights_keep_their_precision(folder: Path, tmp_path: Path) -> None:
    save_model(load(folder, torch.bfloat16), None, tmp_path / "out")
    assert {t.dtype for t in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.bfloat16}


def test_saving_over_the_model_one_has_loaded_is_safe(folder: Path) -> None:
    model = load(folder)
    with torch.no_grad():
        model.model.norm.weight.fill_(3.0)
    save_model(model, None, folder)
    assert load(folder).model.norm.weight.eq(3.0).all()
    assert model.model.layers[0].mlp.up_proj.weight.isfinite().all()


def test_files_have_the_usual_permissions(folder: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_model(load(folder), None, tmp_path / "out")
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "out").iterdir()} == {"0o644"}


def test_a_place_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=str(tmp_path / "file")) as caught:
        save_model(load(folder), None, tmp_path / "file" / "out")
    assert caught.value.exit_code == 6
