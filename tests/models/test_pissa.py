"""PiSSA: the same sums and gradients as the published form, on a base that is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import RecipeError
from hone.models.load import load_model
from hone.models.save import save_model
from hone.models.tuners import attach
from hone.recipe import FinetuningSection, ModelSection, settle

IDS = torch.tensor([[1, 5, 9, 200, 33, 44]])


def base(folder: Path) -> Any:
    return load_model(ModelSection(model_name_or_path=str(folder)), dtype=torch.float32, device=torch.device("cpu"))


def put(folder: Path, *adapters: Path, training: bool = True, **wishes: Any) -> Any:
    section = ModelSection(model_name_or_path=str(folder), adapter_name_or_path=tuple(map(str, adapters)))
    return attach(base(folder), FinetuningSection(**wishes), section, training=training)


def learn(model: Any, steps: int = 3) -> list[float]:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for _ in range(steps):
        loss = model.train()(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("steps", [-1, 16])
def test_it_learns_as_the_published_form_does(folder: Path, steps: int) -> None:
    from peft import LoraConfig, get_peft_model

    kind = "pissa" if steps < 0 else f"pissa_niter_{steps}"
    torch.manual_seed(0)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "down_proj"], init_lora_weights=kind)
    theirs = get_peft_model(base(folder), config)
    torch.manual_seed(0)
    ours = put(folder, pissa_init=True, pissa_iter=steps, lora_target=("q_proj", "down_proj"))
    assert learn(ours) == pytest.approx(learn(theirs), rel=1e-4)


def test_the_base_is_left_alone_and_the_start_changes_nothing(folder: Path) -> None:
    plain, model = base(folder), put(folder, pissa_init=True)
    inner = model.get_base_model()
    with torch.no_grad():
        expected = plain(IDS).logits
        assert torch.allclose(model.eval()(IDS).logits, expected, atol=1e-5)
        with model.disable_adapter():
            assert torch.equal(inner(IDS).logits, expected)


def test_half_of_the_adapter_stands_still(folder: Path) -> None:
    model = put(folder, pissa_init=True, lora_rank=4)
    layer = model.get_base_model().model.layers[0].mlp.up_proj
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (down.shape, up.shape) == ((8, 64), (96, 8))
    before = down.detach().clone(), up.detach().clone()
    learn(model)
    assert torch.equal(down[4:], before[0][4:])
    assert torch.equal(up[:, 4:], before[1][:, 4:])
    assert not torch.equal(down[:4], before[0][:4])
    assert not torch.equal(up[:, :4], before[1][:, :4])


@pytest.mark.parametrize("wishes", [{}, {"use_rslora": True}, {"use_dora": True}, {"pissa_convert": True}])
def test_what_is_saved_is_an_ordinary_adapter_of_the_original_base(
    folder: Path, tmp_path: Path, wishes: dict[str, Any]
) -> None:
    from peft import PeftModel

    model = put(folder, pissa_init=True, **wishes)
    learn(model)
    save_model(model, None, tmp_path)
    with torch.no_grad():
        expected = model.eval()(IDS).logits
        anywhere = PeftModel.from_pretrained(base(folder), str(tmp_path)).eval()
        assert torch.allclose(anywhere(IDS).logits, expected, atol=1e-6)
        merged = put(folder, tmp_path, training=False)
        assert torch.allclose(merged(IDS).logits, expected, atol=1e-4)


def test_weight_decay_would_move_what_stands_still() -> None:
    recipe = {"model_name_or_path": "m", "stage": "sft", "do_train": True, "dataset": "d", "pissa_init": True}
    with pytest.raises(RecipeError, match="stands still would decay"):
        settle({**recipe, "weight_decay": 0.1}, verb="train")
