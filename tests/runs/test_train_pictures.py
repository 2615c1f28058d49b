"""The example recipe for pictures, on a tiny model: two steps, the adapter merged, a look at the data; preferences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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


def preferences(folder: Path) -> None:
    """Two sets about drawn squares, one of pairs and one of answers that were liked or not; every third row shows
    nothing."""
    rows: list[dict[str, Any]] = []
    for number, colour in enumerate(("red", "blue", "green", "white", "black", "gray")):
        Image.new("RGB", (20 + 4 * number, 30), colour).save(folder / f"{colour}.png")
        shows = number % 3 < 2
        words = {"instruction": f"{'<image>' * shows}Which colour?", "good": number % 2 == 0}
        rows.append({**words, "better": colour, "worse": "pink", "images": [f"{colour}.png"] if shows else []})
    (folder / "rows.json").write_text(json.dumps(rows))
    asked = {"prompt": "instruction", "images": "images"}
    pairs = {"file_name": "rows.json", "ranking": True, "columns": {**asked, "chosen": "better", "rejected": "worse"}}
    judged = {"file_name": "rows.json", "columns": {**asked, "response": "better", "kto_tag": "good"}}
    (folder / "dataset_info.json").write_text(json.dumps({"pairs": pairs, "judged": judged}))


@pytest.mark.parametrize("stage", ["dpo", "kto", "rm"])
def test_preferences_about_pictures_are_learned(
    words: list[str], tmp_path: Path, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    preferences(tmp_path)
    changes = {
        "stage": stage, "dataset": "judged" if stage == "kto" else "pairs", "dataset_dir": tmp_path, "pref_beta": 0.1,
        "learning_rate": 0.01, "warmup_steps": 0, "save_strategy": "no",
    }  # fmt: skip
    if stage == "rm":
        changes |= {"do_predict": True, "eval_dataset": "pairs"}
    more = [*words, *(f"{name}={value}" for name, value in changes.items())]
    assert main(["data", "preview", *more, "--row", "1"]) == 0
    assert "<|image_pad|>" in capsys.readouterr().out
    train(read_recipe(more, verb="train"))
    told = json.loads((tmp_path / "run" / "trainer_state.json").read_text("utf-8"))["log_history"]
    losses = [one["loss"] for one in told if "loss" in one]
    first = {"dpo": 0.6931, "rm": 0.6931, "kto": 0.5}[stage]
    assert len(losses) == 2 and losses[0] == pytest.approx(first, abs=0.2 if stage == "rm" else 1e-3)
    assert abs(losses[1] - losses[0]) > 1e-3
    if stage == "rm":
        scores = (tmp_path / "run" / "generated_predictions.jsonl").read_text("utf-8").splitlines()
        # One answer to one question six times: four pictures, and twice none.
        assert len(scores) == 6 and len({json.loads(line)["rejected"] for line in scores}) == 5
