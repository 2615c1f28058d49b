"""Pairs and judged answers: batches, measures, references, value heads, and what a run goes on from."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pairing import draw_judged, draw_pairs, join

from hone.data.feedback import judged
from hone.errors import ModelError
from hone.models.value_head import FILE, ValueHead, add_value_head, load_value_head, save_value_head, value_head
from hone.recipe import FinetuningSection
from hone.stages import load_stage

Make = Callable[..., Any]


def test_a_batch_of_pairs_holds_the_better_and_the_worse_answer_in_turn() -> None:
    stage, rows = load_stage(FinetuningSection(stage="dpo")), draw_pairs(3)
    batch = stage.collate([rows[0], join(rows[1:])])
    assert batch["cu_seqlens"].diff().tolist() == [length for row in rows for length in row.lengths]
    assert int(stage.weight(batch)) == 3
    parts = stage.cut(batch)
    assert [int(stage.weight(part)) for part in parts] in ([1, 2], [2, 1])


def test_a_stage_whose_pairs_look_at_each_other_is_not_cut() -> None:
    batch = load_stage(FinetuningSection(stage="dpo")).collate(draw_pairs(4))
    for settings in ({"pref_loss": "kto_pair"}, {"pref_bco_weight": 1.0}):
        assert load_stage(FinetuningSection(stage="dpo", **settings)).cut(batch) == ()  # type: ignore[arg-type]


def test_judged_answers_are_told_apart_also_in_a_pack() -> None:
    rows = draw_judged(5)
    units = list(judged(join(rows).lengths))
    assert [unit.good for unit in units] == [True, False, True, False, True]
    assert [(unit.answer, unit.other) for unit in units] == [(0, 1), (2, 3), (5, 6), (7, 8), (10, 11)]
    batch = load_stage(FinetuningSection(stage="kto")).collate([join(rows[:2]), *rows[2:]])
    assert batch["good"].tolist() == [True, False, True, False, True]
    assert batch["cu_seqlens"].diff().tolist() == [row.lengths[0] for row in rows]
    assert batch["kl_cu_seqlens"].diff().tolist() == [row.lengths[1] for row in rows]
    for prefix, side in (("", 0), ("kl_", 1)):
        cuts = [(row.lengths[0] * side, row.lengths[0] + row.lengths[1] * side) for row in rows]
        wanted = [token for row, (start, stop) in zip(rows, cuts, strict=True) for token in row.input_ids[start:stop]]
        assert batch[f"{prefix}input_ids"][0].tolist() == wanted


def test_dpo_measures_rewards_log_probabilities_and_logits(tiny: Make, equipped: Make) -> None:
    for name in ("sigmoid", "orpo"):
        model = tiny()
        stage = equipped(model, stage="dpo", pref_loss=name)
        found = stage.loss(model, stage.collate(draw_pairs(4)))
        assert set(found.sums) == set(stage.measures)
        means = {key: float(value) / count for key, (value, count) in found.sums.items()}
        assert means["rewards/margins"] == pytest.approx(means["rewards/chosen"] - means["rewards/rejected"], abs=1e-6)
        assert 0 <= means["rewards/accuracies"] <= 1


def test_rewards_are_nought_where_the_policy_is_the_reference(tiny: Make, equipped: Make) -> None:
    model = tiny(lora=False)
    stage = equipped(model, stage="dpo")
    sums = stage.loss(model, stage.collate(draw_pairs(3))).sums
    assert float(sums["rewards/chosen"][0]) == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)
    changed = stage.loss(model, stage.collate(draw_pairs(3))).sums
    assert abs(float(changed["rewards/chosen"][0])) > 1e-3


def test_the_adapter_is_back_after_the_reference_was_asked(tiny: Make, equipped: Make) -> None:
    model = tiny()
    stage = equipped(model, stage="dpo")
    learns = [name for name, weight in model.named_parameters() if weight.requires_grad]
    with stage.reference.of(model) as reference:
        assert not reference.training
        assert not torch.is_grad_enabled()
    assert model.training
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == learns


def test_kto_measures_both_kinds_and_sums_up_with_the_margin(tiny: Make, equipped: Make) -> None:
    model = tiny()
    stage = equipped(model, stage="kto", pref_ftx=0.5)
    found = stage.loss(model, stage.collate(draw_judged(5)))
    assert {name: count for name, (_, count) in found.sums.items() if name.startswith("rewards")} == {
        "rewards/chosen": 3,
        "rewards/rejected": 2,
    }
    assert stage.summary({"rewards/chosen": 1.0, "rewards/rejected": 0.25}, "") == {"rewards/margins": 0.75}
    assert stage.summary({"eval_rewards/chosen": 1.0}, "eval") == {}
    assert set(stage.measures) == {*found.sums, "rewards/margins"}


def test_the_longer_answer_is_discounted_beyond_the_shorter(tiny: Make, equipped: Make) -> None:
    from hone.stages.shared.scores import answer_rows

    model = tiny()
    stage = equipped(model, stage="dpo")
    rows = answer_rows(model, stage.collate(draw_pairs(4)))
    start = 0
    for pair, counts in enumerate(rows.counts.view(-1, 2).tolist()):
        for side, count in enumerate(counts):
            part = rows.logprobs[start : start + count]
            expected = part[: min(counts)].sum() + 0.25 * part[min(counts) :].sum()
            assert float(rows.discounted(0.25)[2 * pair + side]) == pytest.approx(float(expected), rel=1e-5)
            start += count


def test_the_baseline_of_bco_is_part_of_a_checkpoint(tiny: Make, equipped: Make, tmp_path: Path) -> None:
    model = tiny()
    stage = equipped(model, stage="dpo", pref_bco_weight=0.5)
    stage.loss(model, stage.collate(draw_pairs(4)))
    assert stage.baseline.count == 8
    model.eval()
    stage.loss(model, stage.collate(draw_pairs(4)))
    assert stage.baseline.count == 8
    stage.keep(tmp_path)
    again = equipped(model, stage="dpo", pref_bco_weight=0.5)
    again.take_up(model, tmp_path)
    assert again.baseline == stage.baseline


def test_a_stage_with_a_reference_pickles_without_it(tiny: Make, equipped: Make) -> None:
    stage = equipped(tiny(lora=False), stage="dpo")
    assert len(pickle.dumps(stage)) < 10_000


def test_a_value_head_has_a_file_of_its_own_and_comes_back(tiny: Make, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from hone.models.save import save_model

    for lora in (True, False):
        model, folder = tiny(lora=lora), tmp_path / str(lora)
        add_value_head(model, None)
        save_model(model, None, folder)
        weights = "adapter_model.safetensors" if lora else "model.safetensors"
        assert not [name for name in load_file(folder / weights) if "v_head" in name]
        assert set(load_file(folder / FILE)) == {"v_head.summary.weight", "v_head.summary.bias"}
        other = tiny(lora=lora)
        add_value_head(other, folder)
        one, two = value_head(model), value_head(other)
        assert one is not None and two is not None
        assert torch.equal(one.summary.weight, two.summary.weight)


def test_a_value_head_that_does_not_fit_is_named(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    save_value_head(ValueHead(8), tmp_path)
    with pytest.raises(ModelError, match=FILE):
        add_value_head(model, tmp_path)
    with pytest.raises(ModelError, match=FILE):
        load_value_head(model, tmp_path / "nowhere")


def test_a_value_head_sees_less_in_training_and_all_when_asked(tiny: Make, equipped: Make) -> None:
    model = tiny()
    stage = equipped(model, stage="rm")
    model.v_head.dropout = 0.5
    batch = stage.collate(draw_pairs(3))

    def losses() -> set[float]:
        return {round(float(stage.loss(model, batch).total), 6) for _ in range(3)}

    assert len(losses()) == 3
    model.eval()
    assert len(losses()) == 1


def test_accuracy_is_the_share_of_pairs_in_the_right_order(tiny: Make, equipped: Make) -> None:
    model = tiny()
    stage = equipped(model, stage="rm")
    batch = stage.collate(draw_pairs(6))
    assert stage.loss(model, batch).sums == {}
    model.eval()
    with torch.no_grad():
        model.v_head.summary.weight.zero_()
        right, count = stage.loss(model, batch).sums["accuracy"]
    assert (float(right), count) == (0.0, 6), "a tie is not the right order"
