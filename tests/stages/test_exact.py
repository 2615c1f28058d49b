"""Preference stages are exact: loss and gradients do not depend on packing, batching, or how they are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pairing import DRAWN, assert_same, draw_pairs, join, outcome
from torch.nn import functional

from hone.data.batch import collate
from hone.models import heads
from hone.models.label_logprobs import label_logprobs
from hone.models.label_states import label_states
from hone.models.speed import quicken
from hone.training import exactness
from hone.training.exactness import Outcome
from hone.training.tally import Tally, means

Make = Callable[..., Any]
STAGES: list[dict[str, Any]] = [
    *({"stage": "dpo", "pref_loss": name} for name in ("sigmoid", "hinge", "ipo", "orpo", "simpo")),
    {"stage": "dpo", "pref_ftx": 0.5, "ld_alpha": 0.3, "dpo_label_smoothing": 0.1},
    {"stage": "rm"},
]
EVERY = [*STAGES, {"stage": "dpo", "pref_loss": "kto_pair"}, {"stage": "dpo", "pref_bco_weight": 1.0}, {"stage": "kto"}]


def named(settings: dict[str, Any]) -> str:
    return "-".join(str(value) for value in settings.values())


@pytest.mark.parametrize("settings", EVERY, ids=named)
def test_packed_is_unpacked(settings: dict[str, Any], tiny: Make, equipped: Make) -> None:
    rows, model = DRAWN[settings["stage"]](6), tiny()
    stage = equipped(model, **settings)
    expected = outcome(stage, model, [rows])
    stage = equipped(model, **settings) if settings.get("pref_bco_weight") else stage
    assert_same(outcome(stage, model, [[join(rows[:4]), join(rows[4:])]]), expected)


@pytest.mark.parametrize("settings", STAGES, ids=named)
def test_batching_and_accumulation_change_nothing(settings: dict[str, Any], tiny: Make, equipped: Make) -> None:
    rows, model = DRAWN[settings["stage"]](6), tiny()
    stage = equipped(model, **settings)
    expected = outcome(stage, model, [rows])
    for sizes in ((1,) * 6, (4, 2), (1, 5)):
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        cut = [rows[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        assert_same(outcome(stage, model, cut), expected)


@pytest.mark.parametrize("settings", EVERY, ids=named)
def test_flattened_pairs_are_the_rows_one_by_one(settings: dict[str, Any], tiny: Make, equipped: Make) -> None:
    """Against an attention that knows no segments: there every row runs alone, unpadded."""
    rows = DRAWN[settings["stage"]](4)
    packed, alone = tiny(), tiny(packed=False)
    found = outcome(equipped(packed, **settings), packed, [rows])
    assert_same(outcome(equipped(alone, **settings), alone, [rows]), found)


@pytest.mark.parametrize("settings", [{"stage": "dpo"}, {"stage": "kto"}, {"stage": "sft", "use_asft_loss": True}])
def test_adapters_off_are_a_reference_of_its_own(settings: dict[str, Any], tiny: Make, equipped: Make) -> None:
    from hone.stages.shared.reference import SecondModel

    rows, model = DRAWN.get(settings["stage"], draw_pairs)(4), tiny()
    stage = equipped(model, **settings)
    expected = outcome(stage, model, [rows])
    stage.reference = SecondModel(tiny(lora=False))
    assert_same(outcome(stage, model, [rows]), expected)


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("settings", [{"stage": "dpo"}, {"stage": "kto"}, {"stage": "rm"}], ids=named)
def test_gradient_checkpointing_changes_nothing(
    settings: dict[str, Any], lora: bool, tiny: Make, equipped: Make
) -> None:
    from hone.models.checkpointing import enable_gradient_checkpointing

    rows, model = DRAWN[settings["stage"]](4), tiny(lora=lora)
    stage = equipped(model, finetuning_type="lora" if lora else "full", **settings)
    expected = outcome(stage, model, [rows])
    enable_gradient_checkpointing(model, use_reentrant=False)
    assert_same(outcome(stage, model, [rows]), expected)


@pytest.mark.parametrize("settings", [{"stage": "dpo"}, {"stage": "kto"}, {"stage": "rm"}], ids=named)
def test_blocks_run_by_hand_change_nothing(settings: dict[str, Any], tiny: Make, equipped: Make) -> None:
    rows, model = DRAWN[settings["stage"]](4), tiny()
    stage = equipped(model, **settings)
    expected = outcome(stage, model, [rows])
    assert quicken(model).blocks == 3
    assert_same(outcome(stage, model, [rows]), expected, rel=1e-4)


@pytest.mark.parametrize("lora", [True, False], ids=["frozen head", "learned head"])
def test_log_probabilities_in_chunks_are_those_of_full_logits(
    lora: bool, tiny: Make, equipped: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "CHUNK", 5)
    model = tiny(lora=lora)
    batch = equipped(model, stage="dpo").collate(draw_pairs(3))
    factors = torch.linspace(-1, 2, int((batch["labels"] != -100).sum()))

    def gradients(logprobs: torch.Tensor) -> Outcome:
        model.zero_grad()
        loss = (logprobs * factors).sum()
        loss.backward()
        found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        return Outcome(loss.item(), found)

    logits = torch.cat([model(input_ids=row).logits[0, :-1] for row in rows_of(batch)])
    wanted = torch.cat([labels[0, 1:] for labels in rows_of(batch, "labels")])
    held = wanted != -100
    full = functional.log_softmax(logits[held].float(), -1).gather(1, wanted[held, None])[:, 0]
    expected = gradients(full)
    found, (mean,) = label_logprobs(label_states(model, batch), lambda part: part.mean(-1))
    torch.testing.assert_close(found, full, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mean, logits[held].mean(-1), rtol=1e-4, atol=1e-5)
    assert_same(gradients(found), expected)


def rows_of(batch: dict[str, Any], name: str = "input_ids") -> list[torch.Tensor]:
    return list(batch[name].split(batch["cu_seqlens"].diff().tolist(), 1))


@pytest.mark.parametrize("more", [{}, {"pref_ftx": 0.5, "kto_chosen_weight": 2.0}], ids=["kto", "kto-ftx"])
def test_the_halves_of_judged_answers_add_up(more: dict[str, Any], tiny: Make, equipped: Make) -> None:
    """The drift and the share of liked answers are those of the whole micro-batch."""
    model = tiny()
    stage = equipped(model, stage="kto", **more)
    assert_cut_is_whole(stage, model, stage.collate(DRAWN["kto"](5)), answers=5)


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_the_halves_of_experience_add_up(kind: str, tiny: Make) -> None:
    from hone.models.value_head import add_value_head
    from hone.recipe import FinetuningSection
    from hone.stages import load_stage

    model = tiny()
    if kind == "ppo":
        add_value_head(model, None)
    stage = load_stage(FinetuningSection(stage=kind, reward_funcs=("length:9",), num_generations=3, beta=0.1))
    stage.reference = object()  # the measures ask whether there is one
    batch = collate(draw_pairs(3))
    tokens, answers = int((batch["labels"] != -100).sum()), len(batch["cu_seqlens"]) - 1
    drawn = torch.Generator().manual_seed(0)
    batch |= {name: -torch.rand(tokens, generator=drawn) for name in stage.by_token}
    batch |= {name: torch.rand(answers, generator=drawn) for name in (*stage.by_answer, "rewards/length")}
    assert_cut_is_whole(stage, model, batch, answers=answers)


def assert_cut_is_whole(stage: Any, model: Any, batch: dict[str, Any], *, answers: int) -> None:
    """Cut in two, and again to single answers: the same loss, gradients and measures."""
    expected = exactness.outcome(stage, model, [batch])
    halves = stage.cut(batch)
    assert len(halves) == 2
    assert_same(exactness.outcome(stage, model, halves), expected)
    pieces = [batch]
    while any(len(stage.cut(one)) for one in pieces):
        pieces = [part for one in pieces for part in (stage.cut(one) or [one])]
    assert len(pieces) == answers
    assert_same(exactness.outcome(stage, model, pieces), expected)
    measured = [means(tallied(stage, model, parts)) for parts in ([batch], pieces)]
    assert measured[0] == pytest.approx(measured[1], rel=1e-4, abs=1e-6)


def tallied(stage: Any, model: Any, batches: Any) -> Any:
    tally = Tally()
    for batch in batches:
        tally.add(stage.loss(model, batch))
    return tally.sums()
