"""The trainer: one loss whatever the batches, exact resuming, evaluation by label tokens, and when it stops."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from hone.errors import ModelError, NumericError
from hone.models.heads import label_loss
from hone.training.checkpoints.keeper import Keeper

Make = Callable[..., Any]


class KeepGradients(TrainerCallback):
    """Copies the gradients of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.steps.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})


def one_step(make_trainer: Make, examples: list[Any], **arguments: Any) -> tuple[float, dict[str, torch.Tensor]]:
    seen = KeepGradients()
    trainer = make_trainer(examples, max_steps=1, max_grad_norm=0.0, shuffle=False, watchers=[seen], **arguments)
    trainer.train()
    return trainer.state.log_history[0]["loss"], seen.steps[0]


def test_loss_and_gradient_do_not_depend_on_how_the_step_is_cut(
    make_trainer: Make, random_examples: Make, packed: Make
) -> None:
    rows = random_examples(12)
    packs = [packed(rows[:5]), packed(rows[5:6]), packed(rows[6:])]
    loss, gradients = one_step(make_trainer, rows, per_device_train_batch_size=12)
    for examples, batch, passes in [(rows, 5, 3), (rows, 1, 12), (packs, 3, 1), (packs, 1, 3), (packs, 2, 2)]:
        other_loss, other = one_step(
            make_trainer, examples, per_device_train_batch_size=batch, gradient_accumulation_steps=passes
        )
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert all(torch.allclose(other[name], gradients[name], rtol=1e-5, atol=1e-6) for name in gradients)


def test_the_loss_is_the_sum_over_labels_by_their_number(
    make_trainer: Make, random_examples: Make, fresh_model: Make
) -> None:
    rows = random_examples(6)
    loss, _ = one_step(make_trainer, rows, per_device_train_batch_size=2, gradient_accumulation_steps=3)
    model, total, count = fresh_model(), 0.0, 0
    for row in rows:
        ids = torch.tensor(row.input_ids)[None].long()
        logits = model(ids).logits[0, :-1]
        targets = torch.tensor(row.labels[1:]).long()
        total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum", ignore_index=-100).item()
        count += int((targets != -100).sum())
    assert loss == pytest.approx(total / count, rel=1e-5)


def with_lora(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    return get_peft_model(model, LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj", "up_proj"]))


@pytest.mark.parametrize("lora", [True, False])
@pytest.mark.parametrize("stop", [2, 7, 10])
def test_a_resumed_run_equals_the_one_never_stopped(
    make_trainer: Make, random_examples: Make, fresh_model: Make, tmp_path: Path, lora: bool, stop: int
) -> None:
    rows = random_examples(10)
    arguments = {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
        "max_steps": 12,
        "save_strategy": "steps",
        "save_steps": stop,
        "lr_scheduler_type": "cosine",
        "folder": tmp_path / "whole",
    }
    wrap = with_lora if lora else lambda model: model
    whole = make_trainer(rows, model=wrap(fresh_model()), **arguments)
    whole.train()
    resumed = make_trainer(rows, model=wrap(fresh_model()), **arguments | {"folder": tmp_path / "resumed"})
    resumed.train(resume_from_checkpoint=str(tmp_path / f"whole/checkpoint-{stop}"))

    def course(trainer: Any) -> list[tuple[float, float, float]]:
        return [(e["loss"], e["grad_norm"], e["learning_rate"]) for e in trainer.state.log_history if "loss" in e]

    assert course(resumed) == course(whole)
    ends = zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True)
    assert all(torch.equal(one, other) for (_, one), (_, other) in ends)


def test_checkpoints_hold_no_pickled_arguments(make_trainer: Make, random_examples: Make, tmp_path: Path) -> None:
    make_trainer(random_examples(4), max_steps=2, save_strategy="steps", save_steps=1, save_total_limit=1).train()
    kept = list((tmp_path / "run").glob("checkpoint-*"))
    assert [path.name for path in kept] == ["checkpoint-2"]
    names = {path.name for path in kept[0].iterdir()}
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= names
    assert "training_args.bin" not in names


def test_evaluation_weighs_by_label_tokens_not_by_batches(
    make_trainer: Make, random_examples: Make, fresh_model: Make
) -> None:
    rows = random_examples(9, seed=3)
    found = {
        size: make_trainer(evals={"": rows}, per_device_eval_batch_size=size).evaluate()["eval_loss"]
        for size in (1, 2, 9)
    }
    total, count = label_loss(fresh_model(), make_trainer(evals={"": rows}).stage.collate(rows))
    assert found[1] == pytest.approx(found[2], rel=1e-5) == pytest.approx(found[9], rel=1e-5)
    assert found[9] == pytest.approx(total.item() / count, rel=1e-5)


def test_several_evaluation_sets_have_a_loss_each_and_one_over_all(make_trainer: Make, random_examples: Make) -> None:
    one, two = random_examples(3, seed=1), random_examples(5, seed=2)
    metrics = make_trainer(evals={"one": one, "two": two}).evaluate()
    learned = [sum(example.learned for example in rows) for rows in (one, two)]
    parts = [metrics["eval_one_loss"], metrics["eval_two_loss"]]
    mean = sum(loss * count for loss, count in zip(parts, learned, strict=True)) / sum(learned)
    assert metrics["eval_loss"] == pytest.approx(mean)


def test_token_accuracy_is_the_mean_over_examples(
    make_trainer: Make, random_examples: Make, packed: Make, fresh_model: Make
) -> None:
    rows = random_examples(7, seed=5)
    model = fresh_model()
    for row in rows[:4]:  # answers that the model gives by itself, so that the number is not nearly nought
        guesses = model(torch.tensor(row.input_ids)[None].long()).logits[0].argmax(-1)
        row.labels[-2:] = guesses[-3:-1].numpy()
    shares = []
    for row in rows:
        guesses = model(torch.tensor(row.input_ids)[None].long()).logits[0, :-1].argmax(-1).numpy()
        held = row.labels[1:] != -100
        shares.append(float((guesses == row.labels[1:])[held].mean()))
    for sets in ({"": rows}, {"": [packed(rows[:3]), packed(rows[3:])]}):
        metrics = make_trainer(evals=sets, compute_accuracy=True, per_device_eval_batch_size=2).evaluate()
        assert metrics["eval_accuracy"] == pytest.approx(sum(shares) / len(shares))
        assert metrics["eval_accuracy"] > 0.05


def test_the_best_model_is_the_one_at_the_end(make_trainer: Make, random_examples: Make) -> None:
    rows = random_examples(8)
    trainer = make_trainer(
        rows,
        max_steps=6,
        learning_rate=0.5,
        max_grad_norm=0.0,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=1,
        load_best_model_at_end=True,
        evals={"": random_examples(4, seed=1)},
    )
    trainer.train()
    losses = [event["eval_loss"] for event in trainer.state.log_history if "eval_loss" in event]
    assert min(losses) < losses[-1]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-5)


def test_a_loss_that_is_no_number_stops_before_the_weights_change(
    make_trainer: Make, random_examples: Make, fresh_model: Make
) -> None:
    model = fresh_model()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    trainer = make_trainer(random_examples(4), model=model, max_steps=3)
    with pytest.raises(NumericError, match="step 1") as stopped:
        trainer.train()
    assert stopped.value.exit_code == 7
    assert math.isnan(trainer.state.log_history[-1]["loss"])
    assert all(torch.equal(w, before[n]) or "norm" in n for n, w in model.named_parameters())


def test_a_run_that_diverges_stops_with_the_step(make_trainer: Make, random_examples: Make) -> None:
    with pytest.raises(NumericError, match=r"step \d"):
        make_trainer(random_examples(8), max_steps=50, learning_rate=1e30, max_grad_norm=0.0).train()


def test_a_parameter_that_no_gradient_reaches_is_named(
    make_trainer: Make, random_examples: Make, fresh_model: Make
) -> None:
    model = fresh_model()
    model.model.layers[1].forgotten = torch.nn.Linear(4, 4)
    with pytest.raises(ModelError, match=r"model\.layers\.1\.forgotten\.weight"):
        make_trainer(random_examples(4), model=model, max_steps=1).train()


def test_the_overwritten_run_loses_its_checkpoints_only_after_a_newer_one_is_there(
    make_trainer: Make, random_examples: Make, tmp_path: Path
) -> None:
    old = tmp_path / "run/checkpoint-900"
    old.mkdir(parents=True)
    keeper = Keeper(tmp_path / "run", stale=[old])
    trainer = make_trainer(random_examples(4), max_steps=2, save_strategy="steps", save_steps=2, keeper=keeper)
    assert old.exists()
    trainer.train()
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-2"]
