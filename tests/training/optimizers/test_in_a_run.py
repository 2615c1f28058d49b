"""Optimizers in a whole run: the recipe's wish reaches the trainer, and a resumed run ends with the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hone.recipe import settle
from hone.runs.train import train

WISHES: dict[str, dict[str, Any]] = {
    "badam": {"use_badam": True, "badam_switch_interval": 1, "finetuning_type": "full"},
    "galore": {"use_galore": True, "galore_rank": 4, "galore_update_interval": 2, "finetuning_type": "full"},
    "muon": {"use_muon": True, "finetuning_type": "freeze"},
    "loraplus": {"loraplus_lr_ratio": 4.0},
    "pissa": {"pissa_init": True, "neftune_noise_alpha": 5.0},
}


@pytest.mark.parametrize("name", WISHES)
def test_a_run_learns_and_a_resumed_one_ends_the_same(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"How much is {n} and {n}?", "output": f"It is {2 * n}."} for n in range(8)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))

    def run(folder: str, **more: Any) -> dict[str, torch.Tensor]:
        values = {
            "model_name_or_path": str(tiny_model("llama")), "stage": "sft", "do_train": True, "dataset": "rows",
            "dataset_dir": str(tmp_path), "template": "chatml", "output_dir": str(tmp_path / folder), "max_steps": 4,
            "per_device_train_batch_size": 4, "learning_rate": 1e-2, "logging_steps": 1, "save_steps": 2,
            "lr_scheduler_type": "constant", "report_to": "none", "use_cpu": True, **WISHES[name], **more,
        }  # fmt: skip
        train(settle(values, verb="train"))
        weights = "adapter_model.safetensors" if "loraplus" in name or name == "pissa" else "model.safetensors"
        return load_file(tmp_path / folder / weights)

    whole = run("whole")
    history = json.loads((tmp_path / "whole/trainer_state.json").read_text("utf-8"))["log_history"]
    losses = [event["loss"] for event in history if "loss" in event]
    assert losses[2] < losses[0]
    other = run("resumed", resume_from_checkpoint=str(tmp_path / "whole/checkpoint-2"))
    assert whole.keys() == other.keys()
    assert [key for key in whole if not torch.equal(whole[key], other[key])] == []
