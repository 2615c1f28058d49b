"""Stages that learn tokens, and those that learn from their own answers, are exact: loss and gradients do not depend on
packing, batching, or how they are computed. The preference stages have the same tests in `test_exact.py`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pairing import DRAWN, assert_same, draw_pairs, join, outcome

from hone.data.batch import collate
from hone.dialogue.example import IGNORED, Example
from hone.models import heads
from hone.models.adapters import merged
from hone.models.checkpointing import enable_gradient_checkpointing
from hone.models.label_states import use_full_logits
from hone.recipe import FinetuningSection
from hone.stages import load_stage
from hone.stages.shared.reference import SecondModel
from hone.training import exactness
from hone.training.exactness import Outcome

Make = Callable[..., Any]
STAGES: list[dict[str, Any]] = [
    {"stage": "pt"},
    {"stage": "sft"},
    {"stage": "sft", "use_dft_loss": True},
    {"stage": "sft", "use_asft_loss": True, "asft_alpha": 0.5},
    {"stage": "sft", "use_eaft_loss": True, "eaft_alpha": 2.0},
]
ANSWERING = ["grpo", "ppo"]
BOTH_TUNERS = pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])


def named(settings: dict[str, Any]) -> str:
    return "-".join(str(value) for value in settings.values() if value is not True) + "-".join(
        name for name, value in settings.items() if value is True
    )


def draw_texts(count: int, *, learned_from: int = 0, seed: int = 0) -> list[Example]:
    """Single segments of random tokens, learned from that token on."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        ids = draw.integers(5, 300, int(draw.integers(learned_from + 2, 20))).astype(np.int32)
        labels = ids.copy()
        labels[:learned_from] = IGNORED
        made.append(Example(ids, labels))
    return made


def drawn(settings: dict[str, Any], count: int) -> list[Example]:
    if settings["stage"] in DRAWN:
        return DRAWN[settings["stage"]](count)
    return draw_texts(count, learned_from=0 if settings["stage"] == "pt" else 3)


@BOTH_TUNERS
@pytest.mark.parametrize("settings", STAGES, ids=named)
def test_packing_batches_and_accumulation_change_nothing(
    settings: dict[str, Any], lora: bool, tiny: Make, equipped: Make
) -> None:
    """Against rows that run alone, unpadded, in an attention that knows no segments."""
    rows = drawn(settings, 6)
    alone, model = tiny(lora=lora, packed=False), tiny(lora=lora)
    tuner = {"finetuning_type": "lora" if lora else "full"}
    expected = outcome(equipped(alone, **settings, **tuner), alone, [[row] for row in rows])
    stage = equipped(model, **settings, **tuner)
    packs = [join(rows[:3]), join(rows[3:4]), join(rows[4:])]
    for batches in ([rows], [rows[:4], rows[4:]], [[row] for row in rows], [packs], [packs[:1], packs[1:]]):
        assert_same(outcome(stage, model, batches), expected)


@pytest.mark.parametrize("settings", [*STAGES, {"stage": "dpo"}, {"stage": "kto"}], ids=named)
def test_logits_at_labels_in_pieces_are_full_logits(
    settings: dict[str, Any], tiny: Make, equipped: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "CHUNK", 5)
    rows, model, full = drawn(settings, 3), tiny(), tiny()
    found = outcome(equipped(model, **settings), model, [rows])
    use_full_logits(full)
    assert_same(found, outcome(equipped(full, **settings), full, [rows]))


@BOTH_TUNERS
@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
@pytest.mark.parametrize("settings", STAGES, ids=named)
def test_gradient_checkpointing_changes_nothing(
    settings: dict[str, Any], lora: bool, reentrant: bool, tiny: Make, equipped: Make
) -> None:
    rows, model = drawn(settings, 4), tiny(lora=lora)
    stage = equipped(model, **settings, finetuning_type="lora" if lora else "full")
    expected = outcome(stage, model, [rows])
    enable_gradient_checkpointing(model, use_reentrant=reentrant)
    assert_same(outcome(stage, model, [rows]), expected)


@pytest.mark.parametrize("settings", [*STAGES, {"stage": "dpo"}, {"stage": "kto"}, {"stage": "rm"}], ids=named)
def test_a_merged_adapter_is_the_adapter(settings: dict[str, Any], tiny: Make, equipped: Make) -> None:
    """In the loss, and in the gradients of what both have: norms and embeddings."""
    rows, model = drawn(settings, 4), tiny()
    whole = merged(copy.deepcopy(model))
    found = []
    for one in (whole, model):
        stage = equipped(one, **settings, finetuning_type="lora" if one is model else "full")
        if stage.compares:
            stage.reference = SecondModel(tiny(lora=False))
        for name, weight in one.named_parameters():
            weight.requires_grad_("norm" in name or "embed_tokens" in name)
        one.train()
        result = outcome(stage, one, [rows])
        gradients = {name.removeprefix("base_model.model."): value for name, value in result.gradients.items()}
        found.append(Outcome(result.loss, gradients))
    assert len(found[0].gradients) == 8
    assert_same(*found, rel=1e-4)


@pytest.fixture
def learning_from_answers(tiny: Make) -> Make:
    """`learning_from_answers("grpo", packed=True)`: a stage, its model and a batch of answers with their judgement."""

    def make(kind: str, *, packed: bool = True) -> tuple[Any, Any, dict[str, Any]]:
        from hone.models.value_head import add_value_head

        model = tiny(packed=packed)
        if kind == "ppo":
            torch.manual_seed(3)
            add_value_head(model, None)
            model.v_head.dropout = 0.0
        settings = {"stage": kind, "reward_funcs": ("length:9",), "num_generations": 3, "beta": 0.1}
        stage = load_stage(FinetuningSection(**settings))
        stage.reference = object()  # the measures ask whether there is one
        batch = collate(draw_pairs(3))
        tokens, answers = int((batch["labels"] != IGNORED).sum()), len(batch["cu_seqlens"]) - 1
        random = torch.Generator().manual_seed(0)
        batch |= {name: -torch.rand(tokens, generator=random) for name in stage.by_token}
        batch |= {name: torch.rand(answers, generator=random) for name in (*stage.by_answer, "rewards/length")}
        return stage, model, batch

    return make


@pytest.mark.parametrize("kind", ANSWERING)
def test_answers_in_one_row_are_the_answers_alone(kind: str, learning_from_answers: Make) -> None:
    stage, model, batch = learning_from_answers(kind)
    alone, other, _ = learning_from_answers(kind, packed=False)
    pieces = [batch]
    while any(len(stage.cut(one)) for one in pieces):
        pieces = [part for one in pieces for part in (stage.cut(one) or [one])]
    assert len(pieces) == 6
    assert_same(exactness.outcome(stage, model, [batch]), exactness.outcome(alone, other, pieces))


@pytest.mark.parametrize("kind", ANSWERING)
def test_checkpointing_changes_nothing_where_answers_are_learned_from(kind: str, learning_from_answers: Make) -> None:
    stage, model, batch = learning_from_answers(kind)
    expected = exactness.outcome(stage, model, [batch])
    enable_gradient_checkpointing(model, use_reentrant=False)
    assert_same(exactness.outcome(stage, model, [batch]), expected)
