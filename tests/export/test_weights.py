"""Weights made in turn: the files are those of a model that was merged in memory and written whole, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hone.cli.main import main
from hone.errors import NumericError
from hone.export.safetensors_file import write_file
from hone.export.weights import Weights, weights_of
from hone.models.adapters import load_adapter, merged
from hone.models.save import save_model
from hone.recipe import ModelSection

Adapted = Callable[[str], tuple[Path, Path]]
LAYERS = ["q_proj", "v_proj", "down_proj"]
CASES: dict[str, tuple[str, torch.dtype, dict[str, Any]]] = {
    "plain": ("llama", torch.float32, {}),
    "tied": ("llama_tied", torch.float32, {"target_modules": "all-linear"}),
    "biases": ("qwen2", torch.float32, {"use_rslora": True}),
    "half": ("qwen3", torch.bfloat16, {}),
    "float16": ("mistral", torch.float16, {"rank_pattern": {"v_proj": 2}}),
    "fused": ("phi3", torch.float32, {"target_modules": ["qkv_proj", "down_proj"]}),
    "magnitudes": ("llama", torch.bfloat16, {"use_dora": True}),
    "embeddings": ("llama", torch.float32, {"target_modules": ["embed_tokens", "q_proj"]}),
    "tied embeddings": ("llama_tied", torch.float32, {"target_modules": ["embed_tokens", "q_proj"]}),
    "whole modules": ("llama", torch.float32, {"modules_to_save": ["lm_head"]}),
}
TOGETHER = ("tied embeddings", "whole modules")
"""Adapters that are merged in memory, all at once."""


def loaded(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").requires_grad_(False).eval()


@pytest.fixture
def adapted(sharp_model: Callable[..., Path], tmp_path: Path) -> Adapted:
    """`adapted("plain")` gives the folders of a model and of an adapter on it."""
    from peft import LoraConfig, get_peft_model

    def make(case: str) -> tuple[Path, Path]:
        family, dtype, traits = CASES[case]
        base = tmp_path / "base"
        loaded(sharp_model(family)).to(dtype).save_pretrained(base)
        for path in sharp_model(family).glob("*token*"):
            (base / path.name).write_bytes(path.read_bytes())
        config = LoraConfig(task_type="CAUSAL_LM", r=4, **{"target_modules": LAYERS, **traits})
        wrapped = get_peft_model(loaded(base), config)
        torch.manual_seed(1)
        for name, weight in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                weight.data.normal_(std=0.1).abs_() if "magnitude" in name else weight.data.normal_(std=0.1)
        wrapped.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
        return base, tmp_path / "adapter"

    return make


def wearing(base: Path, adapter: Path) -> Any:
    return load_adapter(loaded(base), adapter, ModelSection(model_name_or_path=str(base)), training=False)


def export(base: Path, adapter: Path, target: Path, *more: str) -> Path:
    words = ["--model_name_or_path", str(base), "--adapter_name_or_path", str(adapter), "--export_dir", str(target)]
    assert main(["export", *words, "--export_check", "false", "--template", "chatml", *more]) == 0
    return target


@pytest.mark.parametrize("case", CASES)
def test_a_folder_has_the_bytes_of_one_merged_and_written_whole(case: str, adapted: Adapted, tmp_path: Path) -> None:
    base, adapter = adapted(case)
    found = export(base, adapter, tmp_path / "out")
    save_model(merged(wearing(base, adapter)), None, tmp_path / "whole")
    names = ["config.json", "model.safetensors"]
    assert [path.name for path in sorted(found.iterdir()) if path.name in names] == names
    assert [(found / name).read_bytes() for name in names] == [
        (tmp_path / "whole" / name).read_bytes() for name in names
    ]
    assert (found / names[1]).read_bytes() != (base / names[1]).read_bytes()
    weights = weights_of(wearing(base, adapter), base)
    assert (not weights.layers) == (not weights.stored) == (case in TOGETHER)


def test_shards_and_their_index_have_the_same_bytes(adapted: Adapted, tmp_path: Path) -> None:
    from hone.export.folder import write_folder

    base, adapter = adapted("half")
    write_folder(weights_of(wearing(base, adapter), base), tmp_path / "out", source=base, shard_gigabytes=0)
    save_model(merged(wearing(base, adapter)), None, tmp_path / "whole", shard_gigabytes=0)
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("out", "whole"))
    assert one == other and len(one) > 30


@pytest.mark.parametrize("form", ["f32", "q8_0"])
@pytest.mark.parametrize("case", ["tied", "half"])
def test_a_gguf_file_has_the_bytes_of_one_merged_before(case: str, form: str, adapted: Adapted, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from hone.export.gguf_file import write_gguf

    base, adapter = adapted(case)
    tokenizer = AutoTokenizer.from_pretrained(base)
    for name, weights in (
        ("turns", weights_of(wearing(base, adapter), base)), ("whole", Weights(merged(wearing(base, adapter)))),
    ):  # fmt: skip
        write_gguf(
            tmp_path / name, weights, tokenizer, wanted=form, chat_template=None, stop_ids=(2,), begins=False
        )  # fmt: skip
    assert (tmp_path / "turns").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_weight_that_is_made_leaves_the_model_as_it_was(adapted: Adapted) -> None:
    base, adapter = adapted("plain")
    wrapped = wearing(base, adapter)
    before = {name: weight.clone() for name, weight in wrapped.get_base_model().state_dict().items()}
    weights = weights_of(wrapped, base)
    made = {name: weights.made(name, weight) for name, weight in weights.model.named_parameters()}
    again = {name: weights.made(name, weight) for name, weight in weights.model.named_parameters()}
    assert all(torch.equal(made[name], again[name]) for name in made)
    plain = {name.replace(".base_layer", ""): weight for name, weight in before.items() if "lora_" not in name}
    changed = [name for name, weight in weights.model.state_dict().items() if not torch.equal(weight, plain[name])]
    assert changed == []
    assert sum(not torch.equal(made[name], plain[name]) for name in made) == len(weights.layers) == 9


def test_a_weight_that_was_changed_in_memory_is_not_read_from_the_file(adapted: Adapted, tmp_path: Path) -> None:
    base, adapter = adapted("plain")
    model = loaded(base)
    model.model.norm.weight.data = model.model.norm.weight.data + 1
    weights = weights_of(model, base)
    assert len(weights.stored) == len(model.state_dict()) - 1
    assert torch.equal(weights.made("norm", model.model.norm.weight), model.model.norm.weight)
    two = f"{adapter},{adapter}"  # the first is added to the weights where they lie
    once, twice = export(base, adapter, tmp_path / "once"), export(base, Path(two), tmp_path / "twice")
    one, both, plain = (load_file(folder / "model.safetensors") for folder in (once, twice, base))
    name = "model.layers.1.self_attn.q_proj.weight"
    torch.testing.assert_close(both[name] - one[name], one[name] - plain[name], atol=1e-5, rtol=0)


def test_a_sum_that_is_no_number_is_refused(adapted: Adapted) -> None:
    base, adapter = adapted("float16")
    tensors = load_file(adapter / "adapter_model.safetensors")
    name = next(name for name in tensors if name.endswith("1.mlp.down_proj.lora_B.weight"))
    tensors[name] *= 1e6
    save_file(tensors, adapter / "adapter_model.safetensors")
    weights = weights_of(wearing(base, adapter), base)
    broken = "model.layers.1.mlp.down_proj.weight"
    with pytest.raises(NumericError, match=rf"EXPORT-NAN.*{broken}"):
        list(weights.pieces(broken, weights.model.get_parameter(broken)))


def test_a_file_is_laid_out_as_the_formats_own_library_does(tmp_path: Path) -> None:
    drawn = torch.Generator().manual_seed(0)
    shapes = {"b": (3, 5), "a.ü": (7,), "c": (), "none": (0, 4), "d": (2, 2, 2)}
    kinds = (torch.float16, torch.float32, torch.bfloat16)
    tensors = {
        f"{name}.{kind}": torch.randn(shape, generator=drawn).to(kind)
        for name, shape in shapes.items()
        for kind in kinds
    }
    for metadata in ({"format": "pt"}, {}):
        save_file(tensors, tmp_path / "library", metadata=metadata or None)
        write_file(tmp_path / "ours", tensors, metadata, lambda _, tensor: iter([tensor.view(-1)]))
        assert (tmp_path / "ours").read_bytes() == (tmp_path / "library").read_bytes()
