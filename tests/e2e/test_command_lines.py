"""The tutorial's command lines, word for word but for their sizes; training through the script `llamafactory-cli`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.model

SCRIPT = Path(sys.executable).parent / "llamafactory-cli"
TRAIN = (
    "train --stage sft --do_train --model_name_or_path {model} --dataset alpaca_gpt4_zh,identity,adgen_local"
    " --dataset_dir ./data --template chatml --finetuning_type lora --output_dir ./saves/small/lora/sft"
    " --overwrite_cache --overwrite_output_dir --cutoff_len 128 --preprocessing_num_workers 2"
    " --per_device_train_batch_size 2 --per_device_eval_batch_size 1 --gradient_accumulation_steps 2"
    " --lr_scheduler_type cosine --logging_steps 1 --warmup_steps 2 --save_steps 2 --eval_steps 2"
    " --evaluation_strategy steps --load_best_model_at_end --learning_rate 5e-5 --num_train_epochs 1.0"
    " --max_samples 6 --val_size 0.1 --plot_loss --fp16"
)


@pytest.fixture
def workplace(tmp_path: Path, ready_cache: Callable[[Path], Path]) -> Path:
    """A folder with `data`: the three sets of the tutorial, six rows each; and with `cache`."""
    ready_cache(tmp_path / "cache")
    data = tmp_path / "data"
    data.mkdir()
    sets = {
        "alpaca_gpt4_zh": [
            {"instruction": f"数到{n}。", "input": "", "output": "一二三四五六"[:n]} for n in range(1, 7)
        ],
        "identity": [{"instruction": "Who are you?", "input": "", "output": f"I am Nia, {n}."} for n in range(6)],
        "adgen_local": [{"content": f"类型#裙*第{n}款", "summary": f"这款裙子很好看,第{n}款。"} for n in range(6)],
    }
    for name, rows in sets.items():
        (data / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    entries: dict[str, dict[str, object]] = {name: {"file_name": f"{name}.json"} for name in sets}
    entries["adgen_local"]["columns"] = {"prompt": "content", "response": "summary"}
    (data / "dataset_info.json").write_text(json.dumps(entries))
    return tmp_path


def call(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *words],
        cwd=folder,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "HONE_CACHE": str(folder / "cache")} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def test_the_train_command_with_every_old_flag(small_model: Path, workplace: Path) -> None:
    done = call(TRAIN.format(model=small_model).split(), workplace, LANG="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    saves = workplace / "saves/small/lora/sft"
    names = {path.name for path in saves.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "training_loss.png", "trainer_log.jsonl"} <= names
    state = json.loads((saves / "trainer_state.json").read_text("utf-8"))
    assert state["best_model_checkpoint"] and state["max_steps"] == 4
    events = [json.loads(line) for line in (saves / "trainer_log.jsonl").read_text("utf-8").splitlines()]
    assert [event["current_steps"] for event in events if "loss" in event] == [1, 2, 3, 4]
    assert "Traceback" not in done.stderr


def test_a_faulty_recipe_is_said_at_once_without_a_model(workplace: Path) -> None:
    words = TRAIN.format(model="nowhere").replace("--learning_rate 5e-5", "--learing_rate fast").split()
    done = call(words, workplace)
    assert done.returncode == 2
    assert "did you mean learning_rate" in done.stderr
    assert not (workplace / "saves").exists()


def test_a_foreign_folder_is_refused_before_the_model_is_opened(workplace: Path) -> None:
    folder = workplace / "saves/small/lora/sft"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("mine")
    done = call(TRAIN.format(model="nowhere").replace("--overwrite_output_dir ", "").split(), workplace)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error[OUTPUT-DIR]")
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


PREDICT = (
    "train --stage sft --do_predict --predict_with_generate --model_name_or_path {model} --eval_dataset"
    " alpaca_gpt4_zh,identity,adgen_local --dataset_dir ./data --template chatml --finetuning_type lora"
    " --output_dir ./saves/small/lora/predict --overwrite_cache --overwrite_output_dir --cutoff_len 128"
    " --preprocessing_num_workers 2 --per_device_eval_batch_size 1 --max_samples 2 --max_new_tokens 4 --do_sample false"
)


def test_the_predict_command(small_model: Path, workplace: Path, warm: Callable[..., Any]) -> None:
    done = warm(PREDICT.format(model=small_model).split(), folder=workplace)
    assert done.returncode == 0, done.stderr
    saves = workplace / "saves/small/lora/predict"
    rows = [json.loads(line) for line in (saves / "generated_predictions.jsonl").read_text("utf-8").splitlines()]
    assert [list(row) for row in rows] == [["prompt", "predict", "label"]] * 6
    assert {"predict_bleu-4", "predict_rouge-l"} <= set(json.loads((saves / "predict_results.json").read_text()))
