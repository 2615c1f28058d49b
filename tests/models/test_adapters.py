"""Adapters: saved and loaded exactly, merged in order, continued; those that do not fit are refused by tensor name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hone.errors import ModelError
from hone.models.fingerprint import base_fingerprint
from hone.models.load import load_model
from hone.models.save import save_model
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection
from hone.rundir import RunCard, write_card

IDS = torch.tensor([[1, 5, 9, 200, 33]])


def base(folder: Path) -> Any:
    return load_model(ModelSection(model_name_or_path=str(folder)), dtype=torch.float32, device=torch.device("cpu"))


def put(folder: Path, *adapters: Path, training: bool = False, merge: bool = True, **wishes: Any) -> Any:
    section = ModelSection(model_name_or_path=str(folder), adapter_name_or_path=tuple(map(str, adapters)))
    return attach(base(folder), FinetuningSection(**wishes), section, training=training, merge=merge)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def trained(folder: Path, place: Path, seed: int = 1, **wishes: Any) -> Any:
    """A LoRA model with random instead of zero second factors, saved at the place."""
    model = put(folder, training=True, **wishes)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2 if "lora" in name else 0.05)
    save_model(model, None, place)
    return model


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Path:
    trained(folder, tmp_path / "adapter")
    return tmp_path / "adapter"


def edit(adapter: Path, **changes: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}))


def replace(adapter: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    "wishes", [{}, {"use_dora": True}, {"use_rslora": True}, {"additional_target": ("lm_head", "norm")}]
)
def test_saved_and_loaded_is_the_same_adapter(folder: Path, tmp_path: Path, wishes: dict[str, Any]) -> None:
    model = trained(folder, tmp_path / "adapter", **wishes)
    again = put(folder, tmp_path / "adapter", training=True)
    ours, theirs = dict(model.named_parameters()), dict(again.named_parameters())
    learning = {name for name, parameter in ours.items() if parameter.requires_grad}
    assert learning == {name for name, parameter in theirs.items() if parameter.requires_grad}
    assert all(torch.equal(ours[name], theirs[name]) for name in learning)
    assert torch.equal(logits(model), logits(again))


def test_a_learned_embedding_that_is_tied_stays_tied(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tiny_model("llama_tied")
    model = trained(folder, tmp_path / "adapter", additional_target=("embed_tokens",))
    again, merged = put(folder, tmp_path / "adapter", training=True), put(folder, tmp_path / "adapter")
    assert torch.equal(logits(model), logits(again))
    torch.testing.assert_close(logits(merged), logits(model), rtol=0, atol=1e-4)
    save_model(merged, None, tmp_path / "whole")
    torch.testing.assert_close(logits(base(tmp_path / "whole")), logits(merged), rtol=0, atol=0)


def test_merged_or_kept_apart_answers_alike(folder: Path, adapter: Path) -> None:
    apart, merged = put(folder, adapter, merge=False), put(folder, adapter)
    assert type(merged).__name__ == "LlamaForCausalLM"
    assert not torch.allclose(logits(apart), logits(base(folder)), atol=1e-2)
    torch.testing.assert_close(logits(apart), logits(merged), rtol=0, atol=1e-4)
    assert {p.requires_grad for p in (*apart.parameters(), *merged.parameters())} == {False}


def test_training_merges_all_but_the_last_and_continues_that_one(folder: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    trained(folder, one, seed=1)
    trained(folder, two, seed=2, lora_rank=4)
    continued, merged = put(folder, one, two, training=True), put(folder, one, two)
    torch.testing.assert_close(logits(continued), logits(merged), rtol=0, atol=1e-4)
    assert continued.peft_config["default"].r == 4
    assert list(continued.peft_config) == ["default"]
    learning = [p.numel() for p in continued.parameters() if p.requires_grad]
    assert sum(learning) == sum(tensor.numel() for tensor in load_file(two / "adapter_model.safetensors").values())


def test_create_new_adapter_merges_all_and_starts_afresh(folder: Path, adapter: Path) -> None:
    fresh = put(folder, adapter, training=True, create_new_adapter=True, lora_rank=2)
    torch.testing.assert_close(logits(fresh), logits(put(folder, adapter)), rtol=0, atol=0)
    assert fresh.peft_config["default"].r == 2


def test_the_saved_folder_is_small_plain_and_repeatable(folder: Path, tmp_path: Path) -> None:
    model = trained(folder, tmp_path / "one")
    save_model(model, None, tmp_path / "two")
    names = ["adapter_config.json", "adapter_model.safetensors"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    targets = json.loads((tmp_path / "one" / names[0]).read_text())["target_modules"]
    assert targets == sorted(targets)


def test_an_adapter_of_another_shape_of_base_is_refused_by_tensor(
    adapter: Path, tiny_model: Callable[[str], Path]
) -> None:
    with pytest.raises(ModelError, match=r"layers\.0\.self_attn\.q_proj\.lora_B.*\(64, 8\).*\(128, 8\)") as caught:
        put(tiny_model("qwen3"), adapter)
    assert caught.value.exit_code == 4
    with pytest.raises(ModelError, match=r"q_proj\.lora_A\.weight has no place"):
        put(tiny_model("phi3"), adapter)


def test_an_adapter_of_another_base_is_refused_by_fingerprint(
    folder: Path, adapter: Path, tiny_model: Callable[[str], Path]
) -> None:
    card = RunCard(base_model="some/model", base_fingerprint=base_fingerprint(folder))
    write_card(adapter, card)
    assert put(folder, adapter) is not None
    with pytest.raises(ModelError, match=r"trained on some/model.*name some/model as model_name_or_path"):
        put(tiny_model("mistral"), adapter)


@pytest.mark.parametrize("rank", [0, -1, 3, "8", None, True, 10**9])
def test_a_rank_that_is_wrong_is_refused(folder: Path, adapter: Path, rank: Any) -> None:
    edit(adapter, r=rank)
    with pytest.raises(ModelError, match="rank"):
        put(folder, adapter)


def test_tensors_that_are_missing_misshapen_or_strange_are_named(folder: Path, adapter: Path, tmp_path: Path) -> None:
    def without_half(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[FIRST]

    def without_target(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if "v_proj" in name]:
            del tensors[name]

    def narrow(tensors: dict[str, torch.Tensor]) -> None:
        tensors[FIRST] = tensors[FIRST][:4].clone()

    def strange(tensors: dict[str, torch.Tensor]) -> None:
        tensors["base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"] = torch.zeros(8, 64)

    def not_a_number(tensors: dict[str, torch.Tensor]) -> None:
        tensors[FIRST][0, 0] = float("nan")

    for number, (change, said) in enumerate(
        [
            (without_half, r"lora_A of model\.layers\.0\.self_attn\.q_proj is missing"),
            (without_target, "the target v_proj has no tensors"),
            (narrow, rf"{FIRST} has shape \(4, 64\).* \(8, 64\)"),
            (strange, r"layers\.9\..* has no place"),
            (not_a_number, rf"{FIRST} holds NaN"),
        ]
    ):
        broken = Path(shutil.copytree(adapter, tmp_path / str(number)))
        replace(broken, change)
        with pytest.raises(ModelError, match=said):
            put(folder, broken)


def test_a_saved_module_of_another_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path / "adapter", additional_target=("lm_head",))
    name = "base_model.model.lm_head.weight"
    replace(tmp_path / "adapter", lambda tensors: tensors.update({name: torch.zeros(600, 64)}))
    with pytest.raises(ModelError, match=rf"{name} has shape \(600, 64\).*\(512, 64\)"):
        put(folder, tmp_path / "adapter")


def test_pickles_and_code_are_refused(folder: Path, adapter: Path) -> None:
    edit(adapter, auto_mapping={"base_model_class": "X", "parent_library": "evil"})
    with pytest.raises(ModelError, match="REMOTE-CODE"):
        put(folder, adapter)
    edit(adapter, auto_mapping=None)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="PICKLE-REFUSED"):
        put(folder, adapter)


def test_a_folder_without_an_adapter_is_named(folder: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no adapter_config\.json"):
        put(folder, folder)
    inner = tmp_path / "outer" / "inner"
    shutil.copytree(adapter, inner)
    section = ModelSection(
        model_name_or_path=str(folder), adapter_name_or_path=(str(inner.parent),), adapter_folder="inner"
    )
    assert attach(base(folder), FinetuningSection(), section, training=True).peft_config["default"].r == 8


@pytest.mark.model
def test_the_recorded_adapters_fit_the_real_model(small_model: Path) -> None:
    import os

    default = Path(__file__).parents[3] / "shared" / "conformance"
    corpus = Path(os.environ.get("HONE_CORPUS", default)) / "adapters"
    if not corpus.is_dir():
        pytest.skip(f"the conformance corpus is not at {corpus.parent}; set HONE_CORPUS")
    for name, rank in (("qv_r8", 8), ("all_r1", 1)):
        model = put(small_model, corpus / name, training=True)
        assert model.peft_config["default"].r == rank
        weights = load_file(corpus / name / "adapter_model.safetensors")
        learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
        assert len(learning) == len(weights)
        assert all(torch.equal(p, weights[n.replace(".default", "")]) for n, p in learning.items())
