"""Onlookers: the log's keys and order, its torn lines, what resuming does to it, early stopping, progress lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hone.training.pace import Pace, clock
from hone.training.watchers.early_stopping import EarlyStopping, evaluations_since_best
from hone.training.watchers.log import LogWriter, read_log
from hone.training.watchers.progress import Progress


def state(step: int = 0, total: int = 8) -> Any:
    return SimpleNamespace(global_step=step, max_steps=total, is_world_process_zero=True, is_local_process_zero=True)


def test_the_log_has_the_keys_that_viewers_read_in_their_order(
    make_trainer: Callable[..., Any], random_examples: Callable[..., Any], tmp_path: Path
) -> None:
    pace = Pace()
    examples = random_examples(8)
    trainer = make_trainer(
        examples,
        max_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        evals={"": examples[:3]},
        pace=pace,
        watchers=[LogWriter(tmp_path / "run", pace, anew=True)],
    )
    trainer.train()
    first, second, evaluation, last = read_log(tmp_path / "run/trainer_log.jsonl")
    times = ["elapsed_time", "remaining_time"]
    assert list(first) == ["current_steps", "total_steps", "loss", "lr", "epoch", "percentage", *times]
    assert list(evaluation) == ["current_steps", "total_steps", "eval_loss", "epoch", "percentage", *times]
    assert list(last) == ["current_steps", "total_steps", "epoch", "percentage", *times]
    assert (first["percentage"], second["percentage"], second["remaining_time"]) == (50.0, 100.0, "0:00:00")


def test_a_resumed_run_takes_away_the_steps_it_does_again_and_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "trainer_log.jsonl"
    file.write_text("".join(json.dumps({"current_steps": step, "loss": 1.0}) + "\n" for step in (1, 2, 3)) + '{"cur')
    writer = LogWriter(tmp_path, Pace(), anew=False)
    writer.on_train_begin(None, state(2), None)
    writer.on_log(None, state(3), None, logs={"loss": 0.5})
    assert [event["current_steps"] for event in read_log(file)] == [1, 2, 3]
    assert len(file.read_text().splitlines()) == 3


def test_a_pure_evaluation_says_every_five_batches_how_far_it_is(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, Pace(), anew=True)
    for _ in range(12):
        writer.on_prediction_step(None, state(0, 0), None, eval_dataloader=range(12))
    events = list(read_log(tmp_path / "trainer_log.jsonl"))
    assert [event["current_steps"] for event in events] == [5, 10]
    assert list(events[0]) == ["current_steps", "total_steps", "percentage", "elapsed_time", "remaining_time"]


@pytest.mark.parametrize(
    ("values", "greater", "waited"),
    [([3, 2, 1], False, 0), ([1, 2, 3], False, 2), ([1, 3, 3, 2], True, 2), ([], True, 0)],
)
def test_evaluations_since_the_best(values: list[float], greater: bool, waited: int) -> None:
    history = [{"step": number, "eval_loss": value} for number, value in enumerate(values)]
    assert evaluations_since_best([*history, {"loss": 1}], "eval_loss", greater_is_better=greater) == waited


def test_training_stops_early_when_evaluation_only_gets_worse(
    make_trainer: Callable[..., Any], random_examples: Callable[..., Any]
) -> None:
    examples = random_examples(8)
    trainer = make_trainer(
        examples,
        max_steps=30,
        learning_rate=10.0,
        max_grad_norm=0.0,
        eval_strategy="steps",
        eval_steps=1,
        evals={"": random_examples(4, seed=1)},
        watchers=[EarlyStopping(3)],
    )
    trainer.train()
    values = [event["eval_loss"] for event in trainer.state.log_history if "eval_loss" in event]
    assert trainer.state.global_step < 30
    assert len(values) - 1 - values.index(min(values)) == 3


def test_without_a_terminal_each_log_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Pace(), live=False)
    progress.on_log(None, state(2), None, logs={"loss": 2.68712, "learning_rate": 9.5491e-05, "epoch": 0.625})
    line = capsys.readouterr().out
    assert "step 2/8 {'loss': '2.687', 'learning_rate': '9.549e-05', 'epoch': '0.625'}" in line
    assert "tokens/s" in line and line.count("\n") == 1


def test_clock_is_hours_minutes_seconds() -> None:
    assert [clock(seconds) for seconds in (0, 61.9, 3600 * 30 + 5)] == ["0:00:00", "0:01:01", "30:00:05"]
