"""OFT: what learns, what its keys do, and that merged, saved and loaded again it answers the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import ModelError
from hone.models.load import load_model
from hone.models.save import save_model
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection

IDS = torch.tensor([[1, 5, 9, 200, 33, 44]])


def put(folder: Path, *adapters: Path, training: bool = True, merge: bool = True, **wishes: Any) -> Any:
    section = ModelSection(model_name_or_path=str(folder), adapter_name_or_path=tuple(map(str, adapters)))
    model = load_model(section, dtype=torch.float32, device=torch.device("cpu"))
    tuning = FinetuningSection(finetuning_type="oft", **wishes)
    return attach(model, tuning, section, training=training, merge=merge)


def learning(model: Any) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in model.named_parameters() if parameter.requires_grad}


def stirred(model: Any) -> Any:
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def test_all_is_every_linear_layer_but_the_head(folder: Path) -> None:
    names = learning(put(folder))
    assert len(names) == 7 * 3
    assert all("oft_R" in name for name in names)


@pytest.mark.parametrize(
    ("wishes", "shape"),
    [({}, (2, 496)), ({"oft_block_size": 16}, (4, 120)), ({"oft_rank": 8}, (8, 28))],
)
def test_blocks_by_their_size_or_their_number(folder: Path, wishes: dict[str, Any], shape: tuple[int, int]) -> None:
    names = learning(put(folder, oft_target=("q_proj", "v_proj"), **wishes))
    assert len(names) == 6
    assert set(names.values()) == {torch.Size(shape)}  # 64 inputs; a block of b has b (b - 1) / 2 numbers


@pytest.mark.parametrize("wishes", [{"oft_block_size": 48}, {"oft_rank": 5}])
def test_blocks_that_do_not_cut_evenly_are_refused(folder: Path, wishes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="does not divide the inputs of 64"):
        put(folder, **wishes)


def test_dropout_and_whole_modules(folder: Path) -> None:
    model = put(folder, module_dropout=0.2, additional_target=("norm",))
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.oft_dropout["default"].p == 0.2
    assert any("modules_to_save" in name for name in learning(model))


def test_saved_loaded_continued_and_merged_answer_the_same(folder: Path, tmp_path: Path) -> None:
    plain, model = logits(put(folder)), stirred(put(folder))
    save_model(model, None, tmp_path)
    expected = logits(model)
    assert not torch.allclose(plain, expected, atol=1e-2)
    assert torch.equal(logits(put(folder, tmp_path)), expected)
    assert torch.equal(logits(put(folder, tmp_path, training=False, merge=False)), expected)
    merged = put(folder, tmp_path, training=False)
    assert not hasattr(merged, "peft_config")
    assert torch.allclose(logits(merged), expected, atol=1e-5)


def test_a_new_adapter_of_another_kind_sits_on_a_merged_one(folder: Path, tmp_path: Path) -> None:
    save_model(stirred(put(folder)), None, tmp_path)
    section = ModelSection(model_name_or_path=str(folder), adapter_name_or_path=(str(tmp_path),))
    model = load_model(section, dtype=torch.float32, device=torch.device("cpu"))
    tuned = attach(model, FinetuningSection(create_new_adapter=True), section, training=True)
    assert all("lora" in name for name in learning(tuned))
    assert torch.allclose(logits(tuned), logits(put(folder, tmp_path, training=False)), atol=1e-5)
