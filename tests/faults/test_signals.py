"""SIGTERM and Ctrl-C: saved, the right exit code, the line that goes on; in any phase, and at once the second time."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.training.checkpoints.keeper import numbered
from hone.training.checkpoints.manifest import fault_of

SIGNALS = int(os.environ.get("HONE_SIGNALS", "4"))
Marks = Callable[[Path], dict[str, str]]


def steps(folder: Path) -> list[int]:
    """Of the checkpoints there, which must be whole."""
    assert not any(fault_of(path) for path in numbered(folder))
    return [int(path.name.rpartition("-")[2]) for path in numbered(folder)]


def running(folder: Path) -> bool:
    """Whether the first step is done."""
    log = folder / "trainer_log.jsonl"
    return log.exists() and b'"current_steps": 1' in log.read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_the_middle_saves_and_the_resumed_run_ends_the_same(
    runs: Any, whole: Any, marks: Marks, wait_until: Any, tmp_path: Path, number: int, code: int
) -> None:
    folder = tmp_path / "run"
    child = runs.start(folder, save_strategy="no", max_steps=400)
    wait_until(lambda: running(folder))
    os.kill(child, number)
    assert runs.wait(child) == code
    assert len(steps(folder)) == 1
    assert "resume with: hone train" in runs.said[-2000:]
    reached = steps(folder)[0]
    assert runs.train(folder, save_strategy="no", max_steps=reached + 3)[0] == 0
    assert runs.train(tmp_path / "other", save_strategy="no", max_steps=reached + 3)[0] == 0
    assert marks(folder)["course"].count("[") == reached + 3 + 1


def test_a_second_signal_ends_at_once_and_older_checkpoints_stay(
    runs: Any, marks: Marks, wait_until: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    # The first save after the signal takes for ever: the second signal must not wait for it.
    child = runs.start(folder, at=40, act=lambda _: time.sleep(600), max_steps=50, save_steps=2)
    wait_until(lambda: (folder / ".saving-2").exists() or bool(numbered(folder)))
    time.sleep(1)
    os.kill(child, signal.SIGTERM)
    time.sleep(0.1)
    before = steps(folder)
    os.kill(child, signal.SIGTERM)
    assert runs.wait(child) == 143
    assert steps(folder) == before


def test_signals_at_random_moments_always_leave_a_run_that_ends_the_same(
    runs: Any, whole: tuple[dict[str, str], int], marks: Marks, tmp_path: Path
) -> None:
    wanted, _ = whole
    chance = random.Random(7)
    began = time.monotonic()
    runs.train(tmp_path / "timed")
    length = time.monotonic() - began
    for turn in range(SIGNALS):
        folder = tmp_path / f"run-{turn}"
        child = runs.start(folder)
        time.sleep(chance.uniform(0.1, 0.95) * length)
        os.kill(child, signal.SIGTERM)
        sent = time.monotonic()
        code = runs.wait(child)
        assert code in (143, 0, -signal.SIGTERM), runs.said[-2000:]  # before the verb listens the system's rule holds
        assert time.monotonic() - sent < 5
        assert runs.train(folder)[0] == 0
        assert marks(folder) == wanted


def test_an_evaluation_is_given_up_and_made_up_for_by_the_resumed_run(
    runs: Any, marks: Marks, wait_until: Any, tmp_path: Path
) -> None:
    options = {
        "val_size": 4,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "per_device_eval_batch_size": 1,
        "max_steps": 4,
    }
    assert runs.train(tmp_path / "whole", **options)[0] == 0
    folder = tmp_path / "run"

    def stop_in_evaluation(_: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    import json

    # The signal comes while the log of step 2 is written, just before its evaluation.
    log = folder / "trainer_log.jsonl"
    child = runs.start(folder, **options, save_strategy="no")
    wait_until(lambda: log.exists() and b'"current_steps": 1,' in log.read_bytes(), pause=0.0005)
    os.kill(child, signal.SIGTERM)
    assert runs.wait(child) == 143
    assert runs.train(folder, **options)[0] == 0

    def course(place: Path) -> list[tuple[int, float]]:
        history = json.loads((place / "trainer_state.json").read_text("utf-8"))["log_history"]
        return [(event["step"], event["eval_loss"]) for event in history if "eval_loss" in event]

    assert course(folder) == course(tmp_path / "whole")
    assert marks(folder) == marks(tmp_path / "whole")
