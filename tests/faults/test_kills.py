"""A training killed at random moments, and before every change it makes on the disk, loses no checkpoint and ends the
same: 20 kills here, 200 of each kind with HONE_KILLS=200 (`make soak`). HONE_SEED=N draws other moments."""

from __future__ import annotations

import json
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

KILLS = int(os.environ.get("HONE_KILLS", "20"))
SEED = int(os.environ.get("HONE_SEED", "0"))
Marks = Callable[[Path], dict[str, str]]


def committed(folder: Path) -> list[int]:
    """The steps of the checkpoints that stand there, each of which must be whole: old or new, never else."""
    found = numbered(folder)
    faults = {path.name: fault for path in found if (fault := fault_of(path))}
    assert not faults
    return [int(path.name.rpartition("-")[2]) for path in found]


def ends_the_same(runs: Any, folder: Path, marks: Marks, wanted: dict[str, str]) -> None:
    code, _ = runs.train(folder)
    assert code == 0, runs.said[-3000:]
    assert marks(folder) == wanted
    assert committed(folder)[-1] == 5
    assert not [path.name for path in folder.iterdir() if path.name.startswith((".saving-", ".trash-", ".replaced-"))]


def test_killed_before_any_change_on_the_disk_the_run_ends_the_same(
    runs: Any, whole: tuple[dict[str, str], int], marks: Marks, tmp_path: Path
) -> None:
    """Up to five kills a run, each before a change of the disk that is drawn from those of two saves."""
    wanted, count = whole
    chance = random.Random(3 + 1000 * SEED)
    left = KILLS // 2 if KILLS < 200 else KILLS
    while left > 0:
        folder = tmp_path / f"run-{left}"
        newest = 0
        for _ in range(min(left, 5)):
            code, _ = runs.train(folder, at=chance.randint(1, count // 2))
            if code == 0:
                break  # there were fewer changes left
            assert code == -signal.SIGKILL
            left -= 1
            steps = committed(folder) if folder.exists() else []
            assert (steps[-1] if steps else 0) >= newest
            newest = steps[-1] if steps else 0
        ends_the_same(runs, folder, marks, wanted)


def test_killed_at_random_moments_again_and_again_the_run_ends_the_same(
    runs: Any, whole: tuple[dict[str, str], int], marks: Marks, tmp_path: Path
) -> None:
    wanted, _ = whole
    chance = random.Random(5 + 1000 * SEED)
    began = time.monotonic()
    runs.train(tmp_path / "timed")
    length = time.monotonic() - began
    left = KILLS // 2 if KILLS < 200 else KILLS
    number = 0
    while left > 0:
        folder = tmp_path / f"run-{number}"
        number += 1
        newest = 0
        for _ in range(min(left, 4)):
            child = runs.start(folder)
            time.sleep(chance.uniform(0.2, 1.0) * length)
            os.kill(child, signal.SIGKILL)
            if runs.wait(child) != -signal.SIGKILL:
                break  # it was done before
            left -= 1
            steps = committed(folder) if folder.exists() else []
            assert (steps[-1] if steps else 0) >= newest
            newest = steps[-1] if steps else 0
        ends_the_same(runs, folder, marks, wanted)


@pytest.mark.slow
def test_a_run_killed_ten_times_sees_every_row_once_in_each_epoch(
    runs: Any, whole: tuple[dict[str, str], int], tmp_path: Path
) -> None:
    """Where the weights (all but) stand still, a step's loss says which row it was of."""
    still = {"learning_rate": 1e-30, "lora_dropout": 0.0, "per_device_train_batch_size": 1, "max_steps": 36}
    folder, (_, count), chance = tmp_path / "run", whole, random.Random(11 + 1000 * SEED)
    for _ in range(10):
        assert runs.train(folder, at=chance.randint(count // 4, count // 2), **still)[0] == -signal.SIGKILL
        committed(folder)
    assert runs.train(folder, **still)[0] == 0, runs.said[-3000:]
    history = json.loads((folder / "trainer_state.json").read_text("utf-8"))["log_history"]
    losses = [(event["step"], round(event["loss"], 4)) for event in history if "loss" in event]
    assert [step for step, _ in losses] == list(range(1, 37))
    epochs = [{loss for step, loss in losses if (step - 1) // 12 == epoch} for epoch in range(3)]
    assert len(epochs[0]) == 12
    assert epochs[0] == epochs[1] == epochs[2]


@pytest.mark.slow
def test_every_change_of_three_saves_in_a_row_may_be_the_last(
    runs: Any, whole: tuple[dict[str, str], int], marks: Marks, tmp_path: Path
) -> None:
    """Steps 3 to 5, with the rotation that each brings: every boundary, none left out."""
    wanted, count = whole
    for point in range(count // 4, count):
        folder = tmp_path / f"at-{point}"
        assert runs.train(folder, at=point)[0] == -signal.SIGKILL
        committed(folder)
        ends_the_same(runs, folder, marks, wanted)
