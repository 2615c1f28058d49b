"""The example recipe for pictures, on a tiny model: two steps, the adapter merged, and a look at the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hone.cli.main import main
from hone.recipe import read_recipe
from hone.runs.train import train

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "examples" / "train_lora" / "qwen2_5vl_lora_sft.yaml"


@pytest.fixture
def words(seeing_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(ROOT)
    changes = {
        "model_name_or_path": seeing_model("qwen2_5_vl"), "dataset": "mllm_demo", "output_dir": tmp_path / "run",
        "max_steps": 2, "bf16": False, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4,
        "logging_steps": 1, "plot_loss": False,
    }  # fmt: skip
    return [str(RECIPE), *(f"{name}={value}" for name, value in changes.items())]


def test_the_example_trains_and_its_adapter_can_be_talked_to(
    words: list[str], tmp_path: Path, seeing_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = train(read_recipe(words, verb="train"))
    assert 0 < metrics["train_loss"] < 10
    assert "<|image_pad|> x " in capsys.readouterr().err
    targets = json.loads((tmp_path / "run" / "adapter_config.json").read_text("utf-8"))["target_modules"]
    assert targets and not any("visual" in name for name in targets)
    answered = ["--prompt", "Hello", "--max_new_tokens", "3", "--adapter_name_or_path", str(tmp_path / "run")]
    model = ["--model_name_or_path", str(seeing_model("qwen2_5_vl"))]
    merged = tmp_path / "merged"
    assert main(["export", *model, *answered[4:], "--export_dir", str(merged)]) == 0
    assert (merged / "preprocessor_config.json").is_file()
    capsys.readouterr()


def test_check_and_preview_show_rows_with_pictures(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", *words]) == 0
    assert "44 pictures" in capsys.readouterr().out
    assert main(["data", "preview", *words, "--row", "3"]) == 0
    assert "<|image" in capsys.readouterr().out
