"""A beginning that several segments share runs once, and nothing that is learned changes by it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from hone.data.batch import collate
from hone.dialogue.example import Example
from hone.models import beginnings
from hone.models.attention import run_alone, use_packed_attention
from hone.models.beginnings import joined, planned
from hone.models.heads import label_loss
from hone.models.label_states import end_states
from hone.models.noise import add_noise
from hone.models.segments import Layout, blocks
from hone.models.speed import quicken

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {}),
    "gemma": ("GemmaConfig", {}),
    "mistral with a window": ("MistralConfig", {"sliding_window": 9}),
}
SHAPE: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "max_position_embeddings": 512,
}  # fmt: skip


def make(family: str = "llama", *, lora: bool = True, quick: bool = True, **settings: Any) -> Any:
    name, extra = FAMILIES[family]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**{**SHAPE, **extra}))
    if lora:
        words = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False, **settings}
        model = get_peft_model(model, LoraConfig(**words))
    use_packed_attention(model)
    if quick:
        quicken(model)
    return model.train()


def batch(*, common: int = 20, rests: Sequence[int] = (5, 150, 1, 9), twin: bool = True) -> dict[str, torch.Tensor]:
    """Rows that begin alike, two of which have more in common, and one that is like none; all tokens are learned."""
    draw = np.random.default_rng(3)
    start = draw.integers(3, 99, common)
    rows = [np.concatenate([start, draw.integers(3, 99, rest)]) for rest in rests]
    if twin:
        rows.insert(1, np.concatenate([rows[1][:-3], draw.integers(3, 99, 11)]))
    rows.insert(2, draw.integers(3, 99, 12))
    return collate([Example(np.array(row, dtype=np.int32), np.array(row, dtype=np.int32)) for row in rows])


def outcome(model: Any, told: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    total, count = label_loss(model, told)[:2]
    (total / count).backward()
    ends = end_states(model, told)
    slopes = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": (total / count).detach(), "ends": ends.detach(), **slopes}


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, wanted in other.items():
        assert float((one[name] - wanted).norm()) <= 2e-5 * max(float(wanted.norm()), 1e-3), name


def seen_by(model: Any) -> list[int]:
    """How many tokens each forward is given, from now on."""
    counts: list[int] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, given: counts.append(given[0].shape[1]))
    return counts


@pytest.mark.parametrize("quick", [True, False], ids=["by hand", "plain"])
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_slopes_and_ends_are_those_of_segments_alone(family: str, lora: bool, quick: bool) -> None:
    model, told = make(family, lora=lora, quick=quick), batch()
    counts = seen_by(model)
    found = outcome(model, told)
    whole = told["input_ids"].shape[1]
    assert set(counts[-2:]) == {whole} if "window" in family else max(counts[-2:]) < whole - 3 * 20
    run_alone(model)
    assert_close(found, outcome(model, told))


def test_the_paths_without_machine_code_agree_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from hone.models.native import calls

    found = outcome(make(), batch())
    monkeypatch.setattr(calls, "available", lambda _: False)
    assert_close(outcome(make(), batch()), found)


def test_a_forward_made_again_in_the_backward_knows_the_beginnings() -> None:
    model = make(quick=False)
    found = outcome(model, batch())
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    assert_close(outcome(model, batch()), found)


def may_not(name: str) -> Any:
    if name == "dropout":
        return make(lora_dropout=0.1)
    model = make()
    if name == "noise":
        add_noise(model.get_base_model(), 5.0)
    elif name == "experts":
        model.get_base_model().config.output_router_logits = True
    else:
        beginnings._proven[model.get_base_model()] = False
    return model


@pytest.mark.parametrize("why", ["dropout", "noise", "experts", "an architecture of another kind"])
def test_every_token_runs_where_something_hangs_on_each(why: str) -> None:
    model = may_not(why)
    counts = seen_by(model)
    label_loss(model, batch())
    assert counts[-1] == batch()["input_ids"].shape[1]


def test_dropout_is_no_hindrance_where_nothing_is_drawn() -> None:
    model = make(lora_dropout=0.1).eval()
    assert joined(model, model.get_base_model(), batch()) is not None


@pytest.mark.parametrize("change", ["other positions", "pictures", "one segment", "nothing in common"])
def test_a_batch_of_another_kind_is_run_as_it_is(change: str) -> None:
    model, told = make(), batch()
    if change == "other positions":
        told["position_ids"] = told["position_ids"] + 1
    elif change == "pictures":
        told["pixel_values"] = torch.zeros(1)
    elif change == "one segment":
        told["cu_seqlens"] = told["cu_seqlens"][[0, -1]]
    else:
        told = batch(common=3, twin=False)
    assert joined(model, model.get_base_model(), told) is None


def test_what_is_shared_most_is_shared() -> None:
    """Two questions with two answers each under one system prompt: each question once, not the prompt for all four."""
    system, first, second = [7] * 10, [8] * 30, [9] * 20
    rows = [system + question + [answer] * 6 for answer in (1, 2) for question in (first, second)]
    plan = planned(np.concatenate(rows), [0, *np.cumsum([len(row) for row in rows]).tolist()])
    assert plan is not None
    lengths = [end - begin for begin, end in plan.pieces]
    assert sorted(lengths) == [6, 6, 6, 6, 30, 40]
    assert sum(lengths) == 94


SEGMENTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 24), st.lists(st.integers(0, 2), min_size=1, max_size=12)), min_size=2
)


@given(SEGMENTS)
def test_every_token_is_found_where_the_plan_says_behind_the_same_tokens(
    drawn: list[tuple[int, int, list[int]]],
) -> None:
    rows = [[kind] * size + rest for kind, size, rest in drawn]
    ids = np.concatenate(rows)
    borders = [0, *np.cumsum([len(row) for row in rows]).tolist()]
    plan = planned(ids, borders)
    if plan is None:
        return
    taken = np.concatenate([np.arange(*piece) for piece in plan.pieces])
    assert len(taken) < len(ids)
    assert (ids[taken][plan.where] == ids).all()
    layout = Layout((0, *np.cumsum([end - begin for begin, end in plan.pieces]).tolist()), plan.continues)
    sees = {place: block for block in blocks(layout, None) for place in range(block.start, block.stop)}
    for begin, end in itertools.pairwise(borders):
        place = int(plan.where[end - 1])
        block = sees[place]
        path = [*range(*block.before), *range(block.first, place + 1)]
        assert path == plan.where[begin:end].tolist()


def test_a_window_is_not_reached_across_segments() -> None:
    with pytest.raises(ValueError, match="window"):
        list(blocks(Layout((0, 4, 6), (-1, 0)), 3))
