"""Optimizers: the loss falls, every key of theirs acts, and a saved state goes on as if nothing had happened."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hone.errors import ModelError, RecipeError
from hone.recipe import FinetuningSection
from hone.training.optimizers import chosen_optimizer
from hone.training.optimizers.muon import orthogonal

ARGUMENTS = SimpleNamespace(
    learning_rate=1e-2, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8, weight_decay=0.0, seed=3
)
ALL: dict[str, dict[str, Any]] = {
    "galore": {"use_galore": True, "galore_rank": 4, "galore_update_interval": 3},
    "galore_reverse": {"use_galore": True, "galore_proj_type": "reverse_std", "galore_rank": 4},
    "galore_left": {"use_galore": True, "galore_proj_type": "left", "galore_rank": 4},
    "galore_right": {"use_galore": True, "galore_proj_type": "right", "galore_rank": 4},
    "galore_full": {"use_galore": True, "galore_proj_type": "full", "galore_rank": 8},
    "apollo": {"use_apollo": True, "apollo_rank": 4, "apollo_scale": 1.0, "apollo_update_interval": 3},
    "apollo_svd_tensor": {
        "use_apollo": True, "apollo_rank": 1, "apollo_proj": "svd", "apollo_scale_type": "tensor", "apollo_scale": 1.0,
    },
    "apollo_front": {"use_apollo": True, "apollo_rank": 4, "apollo_scale_front": True, "apollo_scale": 1.0},
    "badam_layer": {"use_badam": True, "badam_switch_interval": 3},
    "badam_random": {"use_badam": True, "badam_switch_interval": 2, "badam_switch_mode": "random"},
    "badam_ratio": {"use_badam": True, "badam_mode": "ratio", "badam_update_ratio": 0.3, "badam_switch_interval": 3},
    "badam_scatter": {
        "use_badam": True, "badam_mode": "ratio", "badam_update_ratio": 0.3, "badam_mask_mode": "scatter",
    },
    "adam_mini": {"use_adam_mini": True},
    "muon": {"use_muon": True},
}  # fmt: skip
IDS = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))


def made(model: Any, **wishes: Any) -> Any:
    choose = chosen_optimizer(FinetuningSection(finetuning_type="full", **wishes))
    assert choose is not None
    return choose(model, ARGUMENTS)


def learn(model: Any, optimizer: Any, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", ALL)
def test_the_loss_falls(fresh_model: Callable[[], Any], name: str) -> None:
    model = fresh_model().train()
    losses = learn(model, made(model, **ALL[name]), 8)
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize("name", ALL)
def test_a_saved_state_goes_on_to_the_same_bits(fresh_model: Callable[[], Any], name: str) -> None:
    whole = fresh_model().train()
    optimizer = made(whole, **ALL[name])
    learn(whole, optimizer, 4)
    kept, state = {k: v.clone() for k, v in whole.state_dict().items()}, io.BytesIO()
    torch.save(optimizer.state_dict(), state)
    expected = learn(whole, optimizer, 4)
    again = fresh_model().train()
    again.load_state_dict(kept)
    other = made(again, **ALL[name])
    state.seek(0)
    other.load_state_dict(torch.load(state, weights_only=True))
    assert learn(again, other, 4) == expected


def test_none_is_asked_for_by_default_and_two_are_refused() -> None:
    assert chosen_optimizer(FinetuningSection()) is None
    with pytest.raises(RecipeError, match="two optimizers"):
        chosen_optimizer(FinetuningSection(use_muon=True, use_adam_mini=True))


def test_galore_keeps_moments_of_its_rank_for_its_targets_alone(fresh_model: Callable[[], Any]) -> None:
    model = fresh_model().train()
    optimizer = made(model, use_galore=True, galore_rank=4, galore_target=("mlp",))
    learn(model, optimizer, 1)
    block = model.model.layers[0]
    assert optimizer.state[block.mlp.up_proj.weight]["exp_avg"].shape == (96, 4)
    assert optimizer.state[block.mlp.down_proj.weight]["exp_avg"].shape == (4, 96)
    assert optimizer.state[block.self_attn.q_proj.weight]["exp_avg"].shape == (64, 64)


@pytest.mark.parametrize("key", ["galore", "apollo"])
def test_targets_that_fit_nothing_are_refused(fresh_model: Callable[[], Any], key: str) -> None:
    with pytest.raises(ModelError, match=f"{key}_target"):
        made(fresh_model(), **{f"use_{key}": True, f"{key}_target": ("nothing",)})


@pytest.mark.parametrize(("key", "value"), [("galore_scale", 4.0), ("apollo_scale", 4.0)])
def test_scale_scales_the_step(fresh_model: Callable[[], Any], key: str, value: float) -> None:
    steps = []
    for scale in (1.0, value):
        model = fresh_model().train()
        weight = model.model.layers[0].mlp.up_proj.weight
        before = weight.detach().clone()
        learn(model, made(model, **{f"use_{key.split('_')[0]}": True, key: scale}), 1)
        steps.append(weight.detach() - before)
    times = value if key == "galore_scale" else value**0.5
    assert torch.allclose(steps[0] * times, steps[1], atol=1e-5)


def test_galore_moves_inside_the_space_alone(fresh_model: Callable[[], Any]) -> None:
    model = fresh_model().train()
    weight = model.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone()
    learn(model, made(model, use_galore=True, galore_rank=4, galore_update_interval=100), 3)
    assert torch.linalg.matrix_rank(weight.detach() - before, atol=1e-5) == 4


def test_apollo_scales_each_channel_of_the_gradient(fresh_model: Callable[[], Any]) -> None:
    model = fresh_model().train()
    weight = model.model.layers[0].mlp.up_proj.weight
    optimizer = made(model, use_apollo=True, apollo_rank=4)
    before = weight.detach().clone()
    model(input_ids=IDS, labels=IDS).loss.backward()
    slope = weight.grad.clone()
    optimizer.step()
    ratios = (before - weight.detach()) / slope
    assert torch.allclose(ratios, ratios[:, :1].expand_as(ratios), rtol=1e-2)
    assert ratios[:, 0].unique().numel() > 1


def test_badam_trains_one_block_at_a_time_and_nothing_outside(fresh_model: Callable[[], Any]) -> None:
    model = fresh_model().train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = made(model, use_badam=True, badam_switch_interval=2, badam_switch_mode="descending")
    learn(model, optimizer, 2)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert all(name.startswith("model.layers.2.") for name in moved)
    assert optimizer.block == 1
    assert not optimizer.state
    assert {name.split(".")[2] for name, p in model.named_parameters() if p.requires_grad} == {"1"}


@pytest.mark.parametrize(
    ("wishes", "blocks"),
    [
        ({"badam_switch_mode": "ascending"}, [0, 1, 2, 0]),
        ({"badam_switch_mode": "descending"}, [2, 1, 0, 2]),
        ({"badam_switch_mode": "fixed", "badam_start_block": 1}, [1, 1, 1, 1]),
        ({"badam_start_block": 2}, [2, 0, 1, 2]),
        ({"badam_switch_interval": -1}, [0, 0, 0, 0]),
    ],
)
def test_badam_takes_the_blocks_in_the_order_asked_for(
    fresh_model: Callable[[], Any], wishes: dict[str, Any], blocks: list[int]
) -> None:
    optimizer = made(fresh_model(), use_badam=True, **{"badam_switch_interval": 5, **wishes})
    assert [optimizer.order.at(step) for step in (0, 5, 10, 15)] == blocks


def test_badam_at_random_visits_every_block_once_a_round(fresh_model: Callable[[], Any]) -> None:
    optimizer = made(fresh_model(), use_badam=True, badam_switch_mode="random", badam_switch_interval=1)
    assert sorted(optimizer.order.at(step) for step in range(3)) == [0, 1, 2]


def test_badam_refuses_a_block_that_is_not_there(fresh_model: Callable[[], Any]) -> None:
    with pytest.raises(ModelError, match="choose 0 to 2"):
        made(fresh_model(), use_badam=True, badam_start_block=3)


@pytest.mark.parametrize("scatter", [True, False])
def test_badam_by_share_moves_that_share(fresh_model: Callable[[], Any], scatter: bool) -> None:
    model = fresh_model().train()
    weight = model.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone()
    mode = "scatter" if scatter else "adjacent"
    wishes = {"badam_mode": "ratio", "badam_update_ratio": 0.25, "badam_mask_mode": mode}
    learn(model, made(model, use_badam=True, **wishes), 2)
    places = (weight.detach() != before).flatten().nonzero().flatten()
    assert len(places) == round(weight.numel() * 0.25)
    assert bool((places.diff() == 1).all()) is not scatter


def test_adam_mini_keeps_one_second_moment_a_head_and_a_row(fresh_model: Callable[[], Any]) -> None:
    model = fresh_model().train()
    optimizer = made(model, use_adam_mini=True)
    learn(model, optimizer, 1)
    block = model.model.layers[0]
    sizes = {
        name: len(optimizer.state[module.weight]["block_sq"])
        for name, module in (("q", block.self_attn.q_proj), ("k", block.self_attn.k_proj),
                             ("v", block.self_attn.v_proj), ("up", block.mlp.up_proj), ("norm", model.model.norm))
    }  # fmt: skip
    assert sizes == {"q": 4, "k": 2, "v": 32, "up": 96, "norm": 1}


def test_muon_is_that_of_torch_for_hidden_matrices(fresh_model: Callable[[], Any]) -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon to compare with")
    model, plain = fresh_model().train(), fresh_model().train()
    weight, other = (m.model.layers[0].mlp.up_proj.weight for m in (model, plain))
    theirs = torch.optim.Muon([other], lr=1e-2, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    ours = made(model, use_muon=True)
    model(input_ids=IDS, labels=IDS).loss.backward()
    other.grad = weight.grad.clone()
    ours.step()
    theirs.step()
    assert torch.allclose(weight, other, atol=1e-4)  # steps of 2e-2, computed in bfloat16
    assert "exp_avg" in ours.state[model.lm_head.weight]


def test_orthogonal_brings_singular_values_near_one() -> None:
    sizes = torch.linalg.svdvals(orthogonal(torch.randn(40, 24, generator=torch.Generator().manual_seed(0))).float())
    assert 0.5 < sizes.min() < sizes.max() < 1.4


def test_weight_decay_takes_matrices_alone(fresh_model: Callable[[], Any]) -> None:
    model = fresh_model().train()
    choose = chosen_optimizer(FinetuningSection(use_muon=True))
    assert choose is not None
    optimizer = choose(model, SimpleNamespace(**{**vars(ARGUMENTS), "weight_decay": 0.1}))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decays[id(p)] for p in model.parameters() if p.ndim > 1} == {0.1}
    assert {decays[id(p)] for p in model.parameters() if p.ndim == 1} == {0.0}
