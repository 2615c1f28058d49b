"""Adapters with biases: merged they answer as PEFT does with them; what would be lost or shared is refused by key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hone.cli.main import main
from hone.errors import ModelError
from hone.models.load import load_model
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection

IDS = torch.tensor([[1, 5, 9, 200, 33]])
KINDS: list[dict[str, Any]] = [{"bias": "lora_only"}, {"bias": "all"}, {"lora_bias": True}]
Adapted = Callable[..., tuple[Path, Path, torch.Tensor]]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits.float()


@pytest.fixture
def adapted(tiny_model: Callable[[str], Path], tmp_path: Path) -> Adapted:
    """`adapted(bias="all")`: a model whose layers have biases, an adapter on it, and what PEFT answers with both."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen2Config

    def make(kind: torch.dtype = torch.float32, base: str = "", **traits: Any) -> tuple[Path, Path, torch.Tensor]:
        folder, place = tmp_path / "base", tmp_path / "adapter"
        if base:
            AutoModelForCausalLM.from_pretrained(tiny_model(base)).to(kind).save_pretrained(folder)
        else:
            config = Qwen2Config(
                vocab_size=512, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, bos_token_id=1, eos_token_id=2,
            )  # fmt: skip
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).to(kind).save_pretrained(folder)
        for file in tiny_model("llama").glob("*token*"):
            (folder / file.name).write_bytes(file.read_bytes())
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=kind)
        targets = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"], **traits)
        wrapped = get_peft_model(plain, targets)
        torch.manual_seed(1)
        for weight in wrapped.parameters():
            if weight.requires_grad:
                weight.data.normal_(std=0.3)
        wrapped.save_pretrained(place, save_embedding_layers=False)
        fresh = AutoModelForCausalLM.from_pretrained(folder, dtype=kind)
        return folder, place, logits(PeftModel.from_pretrained(fresh, place))

    return make


def put(base: Path, adapter: Path, *, training: bool = False, merge: bool = True) -> Any:
    section = ModelSection(model_name_or_path=str(base), adapter_name_or_path=(str(adapter),))
    model = load_model(section, dtype=torch.float32, device=torch.device("cpu"))
    return attach(model, FinetuningSection(), section, training=training, merge=merge)


def export(base: Path, adapter: Path, target: Path, *more: str) -> int:
    words = ["--model_name_or_path", str(base), "--adapter_name_or_path", str(adapter), "--export_dir", str(target)]
    return main(["export", *words, "--template", "chatml", *more])


@pytest.mark.parametrize("traits", KINDS, ids=str)
def test_biases_are_merged_and_kept_apart_as_peft_does_it(adapted: Adapted, traits: dict[str, Any]) -> None:
    base, adapter, wanted = adapted(**traits)
    stored = load_file(adapter / "adapter_model.safetensors")
    assert any(name.endswith(".bias") and tensor.abs().max() > 0.1 for name, tensor in stored.items())
    torch.testing.assert_close(logits(put(base, adapter)), wanted, rtol=0, atol=1e-5)
    assert torch.equal(logits(put(base, adapter, merge=False)), wanted)


@pytest.mark.parametrize("traits", KINDS, ids=str)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_an_exported_folder_has_the_biases(
    adapted: Adapted, traits: dict[str, Any], kind: torch.dtype, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, adapter, _ = adapted(kind, **traits)
    file = adapter / "adapter_model.safetensors"
    save_file({name: tensor.float() for name, tensor in load_file(file).items()}, file)
    assert export(base, adapter, tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "fidelity.json").read_text())["holds"]
    found = load_file(tmp_path / "out" / "model.safetensors")
    whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wanted = PeftModel.from_pretrained(whole, adapter).merge_and_unload().state_dict()
    assert {tensor.dtype for tensor in found.values()} == {kind}
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, wanted[name].to(kind), rtol=0, atol=0 if kind == torch.bfloat16 else 1e-6)


def test_an_adapter_whose_file_lost_its_biases_is_refused_by_key(adapted: Adapted) -> None:
    base, adapter, _ = adapted(bias="lora_only")
    file, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    whole = load_file(file)
    save_file({name: tensor for name, tensor in whole.items() if not name.endswith(".bias")}, file)
    said = r"adapter_config\.json says bias: lora_only, but the file lacks 4 biases.*\"bias\": \"none\""
    with pytest.raises(ModelError, match=said):
        put(base, adapter)
    config.write_text(json.dumps({**json.loads(config.read_text()), "bias": "none"}))
    put(base, adapter)
    save_file({name.replace(".base_layer.bias", ".bias"): tensor for name, tensor in whole.items()}, file)
    with pytest.raises(ModelError, match=r"passes over it.*base_layer\.bias"):
        put(base, adapter)


def test_a_second_factor_without_its_bias_is_refused_by_key(adapted: Adapted) -> None:
    base, adapter, _ = adapted()
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "lora_bias": True}))
    with pytest.raises(ModelError, match=r"says lora_bias, but.*lora_B\.bias of .* is missing"):
        put(base, adapter)


def test_a_bias_that_has_no_place_in_the_base_is_not_merged(
    adapted: Adapted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, adapter, wanted = adapted(base="llama", lora_bias=True)
    assert torch.equal(logits(put(base, adapter, merge=False)), wanted)
    with pytest.raises(ModelError, match=r"lora_bias in adapter_config\.json adds a bias to \d+ layers that have none"):
        put(base, adapter)
    assert export(base, adapter, tmp_path / "out") == 4
    assert "lora_bias" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_biases_of_a_base_that_has_none_say_nothing(adapted: Adapted) -> None:
    base, adapter, wanted = adapted(base="llama", bias="all")
    torch.testing.assert_close(logits(put(base, adapter)), wanted, rtol=0, atol=1e-5)
    put(base, adapter, training=True)


def test_what_changes_the_base_does_not_go_on_learning(adapted: Adapted) -> None:
    base, adapter, _ = adapted(bias="all")
    with pytest.raises(ModelError, match=r"bias: all in adapter_config\.json changes biases.*create_new_adapter"):
        put(base, adapter, training=True)


@pytest.mark.parametrize(
    ("changes", "said"), [({"bias": "some"}, 'bias is "some", not one of none'), ({"use_dora": True}, "lora_bias does")]
)
def test_settings_that_mean_nothing_are_refused(adapted: Adapted, changes: dict[str, Any], said: str) -> None:
    base, adapter, _ = adapted(lora_bias=True)
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    with pytest.raises(ModelError, match=said):
        put(base, adapter)


@pytest.mark.parametrize("traits", KINDS, ids=str)
def test_a_gguf_adapter_has_no_place_for_biases(
    adapted: Adapted, traits: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gguf")
    base, adapter, _ = adapted(**traits)
    assert export(base, adapter, tmp_path / "out", "--export_format", "gguf-lora") == 4
    said = capsys.readouterr().err
    assert "bias" in said and "export_format: gguf" in said
