"""Adapters in an export: several in order, on weights in few bits, of several kinds; never into other weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.cli.main import main
from hone.models.quantization import steady
from hone.rundir import RunCard, write_card

IDS = torch.tensor([[1, 70, 90, 200, 33]])


def logits(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(IDS).logits


def adapter(base: Any, folder: Path, seed: int, **traits: Any) -> Path:
    """An adapter on a loaded model that changes its answers."""
    from peft import LoraConfig, get_peft_model

    wrapped = get_peft_model(
        base, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj", "down_proj"], **traits)
    )
    torch.manual_seed(seed)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    wrapped.save_pretrained(folder)
    return folder


def export(model: Path, adapters: str, target: Path, *more: str) -> int:
    places = ["--model_name_or_path", str(model), "--adapter_name_or_path", adapters, "--export_dir", str(target)]
    return main(["export", *places, *more])


@pytest.fixture
def base(tiny_model: Callable[[str], Path]) -> Callable[[], Any]:
    """The tiny llama, loaded anew each time."""
    from transformers import AutoModelForCausalLM

    return lambda: AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float32)


def test_several_adapters_are_merged_one_after_the_other(base, tiny_model, tmp_path):
    from peft import PeftModel

    one = adapter(base(), tmp_path / "one", 1, use_rslora=True)
    other = adapter(base(), tmp_path / "other", 2, use_dora=True)
    assert export(tiny_model("llama"), f"{one},{other}", tmp_path / "out") == 0
    model = PeftModel.from_pretrained(base(), one).merge_and_unload()
    model = PeftModel.from_pretrained(model, other).merge_and_unload()
    with torch.no_grad():
        wanted = model(IDS).logits
    torch.testing.assert_close(logits(tmp_path / "out"), wanted, atol=1e-4, rtol=0)
    assert (wanted - logits(tiny_model("llama"))).abs().max() > 1e-2


def test_an_adapter_on_four_bits_is_merged_into_those_weights_made_ordinary(tiny_model, tmp_path, capsys):
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip

    def quantized() -> Any:
        model = AutoModelForCausalLM.from_pretrained(
            tiny_model("llama"), quantization_config=bits, dtype=torch.float32, device_map={"": "cpu"}
        )
        return steady(model, training=True)  # some processors' own form has no room for rows of this length

    place = adapter(quantized(), tmp_path / "adapter", 1)
    write_card(place, RunCard(base_bits=4))
    with torch.no_grad():
        wanted = PeftModel.from_pretrained(quantized(), place)(IDS).logits
    four = ("--quantization_bit", "4", "--infer_dtype", "float32")
    assert export(tiny_model("llama"), str(place), tmp_path / "out", *four) == 0
    torch.testing.assert_close(logits(tmp_path / "out"), wanted, atol=1e-3, rtol=0)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config
    assert json.loads((tmp_path / "out" / "fidelity.json").read_text())["holds"]
    assert export(tiny_model("llama"), str(place), tmp_path / "whole") == 4
    assert export(tiny_model("llama"), str(place), tmp_path / "eight", "--quantization_bit", "8") == 4
    plain = shutil.copytree(place, tmp_path / "plain")
    write_card(plain, RunCard())
    assert export(tiny_model("llama"), str(plain), tmp_path / "mixed", *four) == 4
    assert capsys.readouterr().err.count("EXPORT-QUANTIZED") == 3
    assert not any((tmp_path / name).exists() for name in ("whole", "eight", "mixed"))
