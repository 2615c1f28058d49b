"""Models that must not be exported, or not be exported quietly: broken numbers, tokenizers that cannot be written."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hone.cli.main import main


def export(model: Path, target: Path, *more: str) -> int:
    words = ["--model_name_or_path", str(model), "--export_dir", str(target), "--template", "chatml"]
    return main(["export", *words, "--export_check", "false", *more])


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_not_exported(number: float, tiny_model, tmp_path: Path, capsys) -> None:
    model = Path(shutil.copytree(tiny_model("llama"), tmp_path / "model"))
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"][3] = number
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    assert export(model, tmp_path / "out") == 7
    assert "EXPORT-NAN] the weight model.norm.weight" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_tokenizer_that_cannot_be_written_ends_the_export(tiny_model, tmp_path, capsys, monkeypatch) -> None:
    from transformers import PreTrainedTokenizerBase

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no such normaliser")

    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", refuse)
    assert export(tiny_model("llama"), tmp_path / "out", "--add_tokens", "<more>") == 4
    assert "EXPORT-TOKENIZER] the tokenizer cannot be saved (no such normaliser)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_source_is_no_place_for_its_own_export(tiny_model, tmp_path: Path, capsys) -> None:
    model = Path(shutil.copytree(tiny_model("llama"), tmp_path / "model"))
    before = hashes(model)
    (tmp_path / "link").symlink_to(model)
    for target in (model, model / "inside", tmp_path / "link", tmp_path / "link/deep/inside"):
        assert export(model, target) == 2
        assert "EXPORT-DIR" in capsys.readouterr().err
    assert hashes(model) == before


def test_shards_smaller_than_a_tensor_hold_one_each(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from hone.export.folder import write_folder
    from hone.export.weights import Weights

    model = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float32)
    write_folder(Weights(model), tmp_path / "out", source=tiny_model("llama"), shard_gigabytes=0)
    listed = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(listed.values())) == len(listed) > 10
    for name, shard in listed.items():
        assert list(load_file(tmp_path / "out" / shard)) == [name]
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in model.state_dict().items())
