"""`hone plan` says what a training will take; the numbers are those of the training that then runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.cli.main import main

Words = Callable[..., list[str]]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Words:
    """`words(model, name=value …)`: the words of a small recipe after its verb."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"Count to {n}.", "output": " ".join(map(str, range(n)))} for n in range(1, 42)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))

    def make(model: Path, **more: Any) -> list[str]:
        values = {
            "stage": "sft", "do_train": True, "model_name_or_path": model, "template": "chatml", "dataset": "rows",
            "dataset_dir": tmp_path, "cutoff_len": 256, "use_cpu": True, "output_dir": tmp_path / "run",
            "per_device_train_batch_size": 4, "num_train_epochs": 2, "gradient_accumulation_steps": 2, **more,
        }  # fmt: skip
        return [f"{name}={value}" for name, value in values.items()]

    return make


def test_a_plan_counts_steps_and_learning_numbers_and_writes_nothing(
    tiny_model: Callable[[str], Path], words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--json", "--no-probe", *words(tiny_model("llama"), lora_rank=4)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 2 * 6
    assert 0 < found["trainable"] < found["parameters"]
    assert found["memory"]["gradients"] == 4 * found["trainable"]
    assert found["memory"]["optimizer"] == 8 * found["trainable"]
    assert (found["by_hand"], found["recomputes"], found["fits"], found["seconds"]) == (True, False, True, None)
    assert found["disk"]["weights"] == found["memory"]["gradients"]
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_ends_with_6_and_ways_that_would(
    tiny_model: Callable[[str], Path], words: Words, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hone.runs.planning import gather

    given = words(tiny_model("llama"), per_device_train_batch_size=40, disable_gradient_checkpointing=True)
    assert main(["plan", "--json", "--no-probe", *given]) == 0
    whole = json.loads(capsys.readouterr().out)["memory"]
    # Room for everything but half of the activations.
    short = whole["total"] - whole["activations"] // 2 - whole["process"]
    monkeypatch.setattr(gather, "_process", lambda *_: 0)
    monkeypatch.setattr(gather, "_resident", lambda: 0)
    monkeypatch.setattr(gather, "_free", lambda _: short)
    assert main(["plan", *given]) == 6
    shown = capsys.readouterr().out
    assert "it does not fit" in shown
    assert "per_device_train_batch_size: 20, gradient_accumulation_steps: 4" in shown


@pytest.mark.parametrize(
    ("stage", "each"), [({"stage": "grpo", "num_generations": 4, "beta": 0.1}, 4), ({"stage": "ppo"}, 1)]
)
def test_a_stage_that_writes_its_answers_is_planned_with_answers_of_their_full_length(
    tiny_model: Callable[[str], Path],
    words: Words,
    stage: dict[str, Any],
    each: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = {"reward_funcs": "length:9", "max_new_tokens": 20, "num_train_epochs": 1, "max_steps": 3, **stage}
    given = words(tiny_model("llama"), **more, lora_rank=4, gradient_accumulation_steps=1)
    assert main(["plan", "--json", *given]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    answers = 4 * each
    questions = found["longest_batch"] - answers * 20
    assert questions > 0
    assert questions % each == 0
    assert found["tokens"] == 3 * found["longest_batch"]
    # Blocks, keys and values of the answers, and their logits, are weighed against what learning takes in their place.
    assert found["memory"]["answers"] >= 0
    assert found["memory"]["reference"] == 0


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize(
    "more",
    [
        {"per_device_train_batch_size": 2}, {"lora_dropout": 0.1},
        {"gradient_checkpointing": True, "lora_dropout": 0.1},
        {"finetuning_type": "full", "per_device_train_batch_size": 1},
    ],
)  # fmt: skip
def test_the_plan_is_within_15_percent_of_the_measured_peak(
    small_model: Path, words: Words, more: dict[str, Any]
) -> None:
    command = [sys.executable, "-m", "hone", "plan", "--json", *words(small_model, **more)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["memory"]["total"] == pytest.approx(found["measured_peak"], rel=0.15)
    assert found["seconds"] > 0
