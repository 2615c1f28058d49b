"""Two processes train as one would: same loss, same gradient, same evaluation, written once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.recipe import settle
from hone.runs.train import train


def shared_history(folder: Path, words: dict[str, Any]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "hone", "train", *(f"{name}={value}" for name, value in words.items())]
    quiet = {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "FORCE_TORCHRUN": "1",
        "NPROC_PER_NODE": "2",
        "HONE_CACHE": str(folder.parent / "cache"),
    }
    done = subprocess.run(
        [*command, f"output_dir={folder}"],
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "trainer_state.json").read_text("utf-8"))["log_history"]


@pytest.fixture(autouse=True)
def cache(ready_cache: Callable[[Path], Path], tmp_path: Path) -> Path:
    """Where `shared_history` keeps what it prepares."""
    return ready_cache(tmp_path / "cache")


def test_two_processes_train_as_one_would(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"Count to {n}.", "output": " ".join(map(str, range(n)))} for n in range(1, 12)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    words = {
        "stage": "sft", "do_train": True, "model_name_or_path": tiny_model("llama"), "template": "chatml",
        "dataset": "rows", "dataset_dir": tmp_path, "cutoff_len": 64, "val_size": 3, "eval_strategy": "steps",
        "eval_steps": 2, "max_steps": 4, "logging_steps": 1, "learning_rate": 0.01, "save_strategy": "no",
        "use_cpu": True, "per_device_eval_batch_size": 1,
    }  # fmt: skip
    one = {name: str(value) if isinstance(value, Path) else value for name, value in words.items()}
    train(settle(one | {"per_device_train_batch_size": 2, "output_dir": str(tmp_path / "one")}, verb="train"))
    alone = json.loads((tmp_path / "one/trainer_state.json").read_text("utf-8"))["log_history"]
    shared = shared_history(tmp_path / "two", words | {"per_device_train_batch_size": 1})
    assert len(alone) == len(shared)
    for one, two in zip(alone, shared, strict=True):
        for name in set(one) & {"loss", "grad_norm", "learning_rate", "eval_loss", "epoch", "step"}:
            assert two[name] == pytest.approx(one[name], rel=1e-4), name


@pytest.mark.slow
def test_fewer_rows_than_two_processes_hold_are_trained_on(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    rows = [{"instruction": f"Count to {n}.", "output": " ".join(map(str, range(n)))} for n in range(1, 4)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    words = {
        "stage": "sft", "do_train": True, "model_name_or_path": tiny_model("llama"), "template": "chatml",
        "dataset": "rows", "dataset_dir": tmp_path, "cutoff_len": 64, "num_train_epochs": 2, "logging_steps": 1,
        "save_strategy": "no", "use_cpu": True, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
    }  # fmt: skip
    losses = [entry["loss"] for entry in shared_history(tmp_path / "two", words) if "loss" in entry]
    assert len(losses) == 2
    assert all(0 < loss < 100 for loss in losses)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["ppo", "grpo"])
def test_stages_that_write_answers_learn_in_two_processes(
    stage: str, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each process answers its own questions; what is measured over all answers is the same in both."""
    rows = [{"instruction": f"Count to {n}.", "output": ""} for n in range(1, 17)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    words = {
        "stage": stage, "do_train": True, "model_name_or_path": tiny_model("llama"), "template": "chatml",
        "dataset": "rows", "dataset_dir": tmp_path, "cutoff_len": 64, "max_steps": 4, "logging_steps": 1,
        "learning_rate": 0.01, "save_strategy": "no", "use_cpu": True, "per_device_train_batch_size": 2,
        "reward_funcs": "length:9", "max_new_tokens": 6, "temperature": 1.0, "top_p": 1.0, "top_k": 0,
        **({"ppo_epochs": 2, "ppo_whiten_rewards": True} if stage == "ppo" else {"num_generations": 4}),
    }  # fmt: skip
    events = [entry for entry in shared_history(tmp_path / "two", words) if "loss" in entry]
    assert [entry["step"] for entry in events] == [1, 2, 3, 4]
    assert all(0 <= entry["reward"] <= 1 and entry["logprob_gap"] < 1e-3 for entry in events)
    assert all(0 < entry["grad_norm"] < 1e4 for entry in events)
    assert (tmp_path / "two/adapter_model.safetensors").is_file()
    assert (tmp_path / "two/value_head.safetensors").is_file() == (stage == "ppo")
