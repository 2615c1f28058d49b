"""`run.json` says what a run was made from, and `hone replay` runs it again and compares."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.cli.main import main


@pytest.fixture
def finished(tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run directory of a short training with an evaluation, and a secret in its recipe."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"Count to {n}.", "output": " ".join(map(str, range(n)))} for n in range(1, 12)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    words: dict[str, Any] = {
        "stage": "sft", "do_train": True, "model_name_or_path": tiny_model("llama"), "template": "chatml",
        "dataset": "rows", "dataset_dir": tmp_path, "cutoff_len": 64, "max_steps": 3, "logging_steps": 1,
        "val_size": 2, "do_eval": True, "lora_dropout": 0.1, "learning_rate": 0.01, "save_strategy": "no",
        "use_cpu": True, "hf_hub_token": "hf_very_secret", "output_dir": tmp_path / "run",
    }  # fmt: skip
    assert main(["train", *(f"{name}={value}" for name, value in words.items())]) == 0
    return tmp_path / "run"


def test_the_record_says_what_the_run_was_made_from(finished: Path) -> None:
    text = (finished / "run.json").read_text("utf-8")
    record = json.loads(text)
    assert record.keys() >= {"hone", "recipe", "data", "encoding", "model", "seeds", "versions", "hardware", "results"}
    assert record["recipe"]["learning_rate"] == 0.01
    assert record["versions"].keys() >= {"python", "torch", "transformers"}
    assert [event["step"] for event in record["results"]["course"]] == [1, 2, 3]
    assert record["results"]["evaluation"]["eval_loss"] > 0
    assert "hf_very_secret" not in text


def test_a_replayed_run_has_the_same_numbers(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(finished)]) == 0
    assert "the same: 3 steps" in capsys.readouterr().out


def test_what_has_changed_since_is_named_with_both_numbers(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((finished / "run.json").read_text("utf-8"))
    record["results"]["course"][1]["loss"] = 1.5
    (finished / "run.json").write_text(json.dumps(record))
    rows = json.loads((tmp_path / "rows.json").read_text())
    (tmp_path / "rows.json").write_text(json.dumps([*rows[:-1], {**rows[-1], "output": "0 1"}]))
    assert main(["replay", str(finished), "--output_dir", str(tmp_path / "again")]) == 5
    shown = capsys.readouterr().out
    assert "step 2: loss was 1.5, is " in shown
    assert "the training data: was " in shown
    assert (tmp_path / "again/run.json").exists()


@pytest.mark.parametrize("words", [[], ["nowhere"], ["one", "two"]])
def test_what_is_no_run_is_refused(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["replay", *words]) == 2
