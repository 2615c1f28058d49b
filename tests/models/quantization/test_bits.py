"""Weights in few bits: adapters learn on them, an evaluation in between harms nothing, and what lacks is said."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import MachineError, ModelError, RecipeError
from hone.models.load import load_model
from hone.models.quantization import is_quantized
from hone.models.quantization.stored import NEEDS, stored_options
from hone.models.save import save_model
from hone.models.tuners import attach, count_parameters
from hone.recipe import FinetuningSection, ModelSection, QuantizationSection, settle

IDS = torch.tensor([[1, 5, 9, 200, 33, 44]])
CPU = torch.device("cpu")
needs_bnb = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed: pip install hone-llm[bnb]"
)


def base(folder: Path, *, training: bool = True, **wishes: Any) -> Any:
    section = ModelSection(model_name_or_path=str(folder))
    return load_model(section, QuantizationSection(**wishes), dtype=torch.float32, device=CPU, training=training)


def tuned(folder: Path, bits: int, *adapters: Path, training: bool = True, **wishes: Any) -> Any:
    section = ModelSection(model_name_or_path=str(folder), adapter_name_or_path=tuple(map(str, adapters)))
    return attach(base(folder, quantization_bit=bits), FinetuningSection(**wishes), section, training=training)


def slopes(model: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model.train()(input_ids=IDS, labels=IDS).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A model whose layers bitsandbytes can re-pack: all widths are multiples of 64."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path / "wide")
    return tmp_path / "wide"


@needs_bnb
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tuner", ["lora", "oft"])
def test_an_evaluation_in_between_changes_no_gradient(wide: Path, bits: int, tuner: str) -> None:
    torch.manual_seed(0)
    model = tuned(wide, bits, finetuning_type=tuner)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "lora_B" in name:
                parameter.normal_(std=0.1)
    before = slopes(model)
    assert len(before) == sum(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        model.eval()(IDS)
    after = slopes(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(slope.abs().max() > 0 for slope in before.values())


@needs_bnb
def test_a_run_that_evaluates_at_every_step_goes_on_learning(
    wide: Path, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from hone.runs.train import train

    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model("llama") / name, wide)
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.json").write_text(json.dumps([{"instruction": "How much?", "output": "It is two."}] * 8))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    values = {
        "model_name_or_path": str(wide), "stage": "sft", "do_train": True, "dataset": "rows", "val_size": 2,
        "dataset_dir": str(tmp_path), "template": "empty", "output_dir": str(tmp_path / "run"), "max_steps": 4,
        "per_device_train_batch_size": 2, "learning_rate": 1e-2, "logging_steps": 1, "eval_strategy": "steps",
        "eval_steps": 1, "save_strategy": "no", "use_cpu": True, "quantization_bit": 4, "report_to": "none",
    }  # fmt: skip
    train(settle(values, verb="train"))
    history = json.loads((tmp_path / "run/trainer_state.json").read_text("utf-8"))["log_history"]
    losses = [event["eval_loss"] for event in history if "eval_loss" in event][:4]
    assert all(later < earlier - 0.01 for earlier, later in itertools.pairwise(losses))


@needs_bnb
def test_layers_of_an_odd_width_answer_too(folder: Path) -> None:
    model = base(folder, training=False, quantization_bit=4)  # the down projection has 96 inputs, no multiple of 64
    with torch.no_grad():
        assert model(IDS).logits.isfinite().all()


@needs_bnb
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("wishes", [{}, {"finetuning_type": "oft"}, {"use_dora": True}])
def test_an_adapter_stays_beside_quantised_weights(
    wide: Path, tmp_path: Path, bits: int, wishes: dict[str, Any]
) -> None:
    model = tuned(wide, bits, **wishes)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter) * 0.1)
        expected = model.eval()(IDS).logits
        save_model(model, None, tmp_path / "adapter")
        again = tuned(wide, bits, tmp_path / "adapter", training=False, **wishes)
        assert hasattr(again, "peft_config")
        assert torch.equal(again(IDS).logits, expected)
    with pytest.raises(ModelError, match="cannot be merged"):
        tuned(wide, bits, tmp_path / "adapter", tmp_path / "adapter", **wishes)


@needs_bnb
def test_packed_weights_count_as_what_they_stand_for(wide: Path) -> None:
    plain = attach(base(wide), FinetuningSection(), ModelSection(), training=True)
    assert count_parameters(tuned(wide, 4)) == count_parameters(plain)
    assert is_quantized(tuned(wide, 4))
    assert not is_quantized(plain)


@needs_bnb
def test_the_keys_of_bitsandbytes_act(wide: Path) -> None:
    layer = base(wide, quantization_bit=4, quantization_type="fp4", double_quantization=False)
    state = layer.model.layers[0].mlp.up_proj.weight.quant_state
    assert (state.quant_type, state.nested) == ("fp4", False)
    state = base(wide, quantization_bit=4).model.layers[0].mlp.up_proj.weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"quantization_method": "hqq", "quantization_bit": 4}, "hqq does not run on a processor"),
        ({"quantization_method": "eetq", "quantization_bit": 8}, "eetq runs on CUDA only"),
    ],
)
def test_methods_that_need_a_card_say_so(folder: Path, wishes: dict[str, Any], said: str) -> None:
    with pytest.raises(MachineError, match=said):
        base(folder, **wishes)


@pytest.mark.parametrize(
    "wishes",
    [
        {"quantization_bit": 3},
        {"quantization_bit": 7, "quantization_method": "hqq"},
        {"quantization_bit": 4, "quantization_method": "eetq"},
        {"quantization_bit": 4, "quantization_device_map": "auto"},
        {"quantization_bit": 4, "finetuning_type": "full"},
        {"quantization_bit": 4, "pissa_init": True},
        {"quantization_bit": 4, "add_tokens": "<new>"},
        {"quantization_bit": 4, "adapter_name_or_path": "a,b"},
    ],
)
def test_wishes_that_cannot_be_are_faults_of_the_recipe(wishes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        settle({"model_name_or_path": "m", "stage": "sft", "do_train": True, "dataset": "d", **wishes}, verb="train")


@pytest.mark.parametrize("kind", sorted(set(NEEDS) - {"bitsandbytes"}))
def test_a_quantised_checkpoint_names_the_package_it_needs(folder: Path, kind: str) -> None:
    if importlib.util.find_spec(NEEDS[kind].package) is not None and NEEDS[kind].cpu:
        pytest.skip(f"{NEEDS[kind].package} is installed")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "quantization_config": {"quant_method": kind}}))
    with pytest.raises(MachineError, match=r"pip install|does not run on a processor"):
        base(folder)


def test_an_unknown_kind_of_checkpoint_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"'mine' are not read.*gptq"):
        stored_options({"quant_method": "mine"}, CPU)


def test_an_fp8_checkpoint_becomes_ordinary_floats(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors, packed = load_file(folder / "model.safetensors"), {}
    for name, tensor in tensors.items():
        if "_proj" not in name:
            packed[name] = tensor
            continue
        scale = tensor.abs().max() / 448
        packed[name] = (tensor / scale).to(torch.float8_e4m3fn)
        packed[name.replace(".weight", ".weight_scale_inv")] = scale.reshape(1, 1)
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    fp8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "quantization_config": fp8}))
    model = base(folder)
    name = "model.layers.0.mlp.up_proj.weight"
    found = model.get_parameter(name)
    assert found.dtype == torch.float32
    assert torch.allclose(found, tensors[name], atol=float(tensors[name].abs().max()) / 8)
    assert not is_quantized(model)


@needs_bnb
def test_bits_given_for_a_quantised_checkpoint_are_passed_over(wide: Path, tmp_path: Path, capsys: Any) -> None:
    base(wide, quantization_bit=4).save_pretrained(tmp_path / "stored")
    model = base(tmp_path / "stored", quantization_bit=8)
    assert "quantised already" in capsys.readouterr().err
    assert is_quantized(model)
    assert len(slopes(attach(model, FinetuningSection(), ModelSection(), training=True))) == 2 * 7 * 3
