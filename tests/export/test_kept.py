"""What an export keeps of the vendor's folder, what it changes when it is asked to, and what it refuses to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hone.cli.main import main

Base = Callable[[str], Path]


def export(base: Path, target: Path, *more: str) -> int:
    words = ["--model_name_or_path", str(base), "--export_dir", str(target), "--template", "chatml"]
    return main(["export", *words, "--export_check", "false", *more])


def adapter(base: Path, folder: Path) -> Path:
    """An adapter that changes the weights."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]))
    torch.manual_seed(1)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    wrapped.save_pretrained(folder)
    return folder


def test_files_that_the_vendor_wrote_stay_as_he_wrote_them(tiny_model: Base, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model("llama"), tmp_path / "base"))
    (base / "generation_config.json").write_text('{"eos_token_id": 2,   "temperature": 0.55, "do_sample": true}\n')
    assert export(base, tmp_path / "out", "--adapter_name_or_path", str(adapter(base, tmp_path / "adapter"))) == 0
    for name in ("generation_config.json", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (base / name).read_bytes(), name


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_another_precision_is_that_of_a_model_loaded_in_it(name: str, tiny_model: Base, tmp_path: Path) -> None:
    from hone.models.adapters import load_adapter, merged
    from hone.recipe import ModelSection

    base = tiny_model("llama")
    folder = adapter(base, tmp_path / "adapter")
    words = ("--adapter_name_or_path", str(folder), "--infer_dtype", name)
    assert export(base, tmp_path / "out", *words) == 0
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, name)).requires_grad_(False)
    whole = merged(load_adapter(model, folder, ModelSection(model_name_or_path=str(base)), training=False))
    found = load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(found[key], weight) for key, weight in whole.named_parameters())
    assert {weight.dtype for weight in found.values()} == {getattr(torch, name)}
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == name


def test_a_vocabulary_that_grows_has_its_rows_in_the_folder(tiny_model: Base, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = tiny_model("llama")
    words = [f"<more{number}>" for number in range(600)]
    assert export(base, tmp_path / "out", "--add_tokens", ",".join(words), "--resize_vocab", "true") == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "out"))
    table = "model.embed_tokens.weight"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(after[table]) >= len(tokenizer) > len(before[table])
    assert torch.equal(after[table][: len(before[table])], before[table])
    assert tokenizer.convert_tokens_to_ids(words[-1]) == len(tokenizer) - 1
    assert json.loads((tmp_path / "out/config.json").read_text())["vocab_size"] == len(after[table])


def test_an_adapter_is_not_merged_into_another_base_than_its_own(
    tiny_model: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hone.rundir import RunCard, write_card

    folder = adapter(tiny_model("llama"), tmp_path / "adapter")
    write_card(folder, RunCard(base_model="another", base_fingerprint="0" * 16))
    assert export(tiny_model("llama"), tmp_path / "out", "--adapter_name_or_path", str(folder)) == 4
    assert "trained on another (0000000000000000), not on this model" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_gptq_is_refused_before_anything_is_written(
    tiny_model: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tiny_model("llama"), tmp_path / "out", "--export_quantization_bit", "4") == 2
    assert "export_quantization_bit" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
