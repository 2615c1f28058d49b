"""A run that was cut off ends as one that never was: each stage, tuner and way of reading the data, to the last bit."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.errors import CheckpointError
from hone.recipe import settle
from hone.runs.train import train

STAGES = {"sft": "chats", "pt": "texts", "dpo": "pairs", "kto": "judged", "rm": "pairs"}
TUNERS = {"lora": {"lora_dropout": 0.1, "lora_rank": 2}, "full": {}}
READING: dict[str, dict[str, Any]] = {
    "plain": {"packing": False, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 1},
    "packing": {"packing": True, "per_device_train_batch_size": 1},
    "streaming": {"streaming": True, "buffer_size": 5, "packing": False},
    "workers": {"dataloader_num_workers": 2, "packing": False},
}
CELLS = list(itertools.product(STAGES, TUNERS, READING))
EVERY_RUN = {cell for number, cell in enumerate(CELLS) if number % 4 == (number // 8 + number // 4) % 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows of each kind that a stage eats."""
    folder = tmp_path_factory.mktemp("data")
    asked = [{"instruction": f"How much is {n} and {n}?", "input": ""} for n in range(12)]
    right = [f"It is {2 * n}. " * (1 + n % 3) for n in range(12)]
    sets: dict[str, list[dict[str, Any]]] = {
        "chats": [{**row, "output": said} for row, said in zip(asked, right, strict=True)],
        "pairs": [{**row, "chosen": said, "rejected": "Who knows?"} for row, said in zip(asked, right, strict=True)],
        "judged": [
            {**row, "output": said, "good": number % 2 == 0}
            for number, (row, said) in enumerate(zip(asked, right, strict=True))
        ],
        "texts": [{"text": said * 3} for said in right],
    }
    about: dict[str, dict[str, Any]] = {name: {"file_name": f"{name}.json"} for name in sets}
    about["pairs"] |= {
        "ranking": True,
        "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"},
    }
    about["judged"] |= {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "good"}}
    about["texts"] |= {"columns": {"prompt": "text"}}
    for name, rows in sets.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def learn(
    tiny_model: Callable[[str], Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """`learn(stage, …)` trains ten steps into `run` and returns what must be equal: losses, norms, weights."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))

    def go(stage: str, **changes: Any) -> dict[str, Any]:
        values = {
            "model_name_or_path": str(tiny_model("llama")), "stage": stage, "do_train": True, "template": "chatml",
            "dataset": STAGES[stage], "dataset_dir": str(data), "cutoff_len": 128, "max_steps": 10, "save_steps": 8,
            "output_dir": str(tmp_path / "run"), "per_device_train_batch_size": 2, "learning_rate": 1e-2,
            "logging_steps": 3, "report_to": "none", "use_cpu": True, "lr_scheduler_type": "cosine",
        }  # fmt: skip
        values |= changes
        train(settle(values, verb="train"))
        return outcome(Path(str(values["output_dir"])))

    return go


def outcome(folder: Path) -> dict[str, Any]:
    history = json.loads((folder / "trainer_state.json").read_text("utf-8"))["log_history"]
    files = sorted(folder.glob("*.safetensors"))
    return {
        "course": [{k: v for k, v in event.items() if "runtime" not in k} for event in history if "loss" in event],
        "weights": {path.name: path.read_bytes() for path in files},
    }


@pytest.mark.parametrize(
    ("stage", "tuner", "reading"),
    [pytest.param(*cell, marks=[] if cell in EVERY_RUN else [pytest.mark.slow]) for cell in CELLS],
)
def test_a_run_that_was_cut_off_ends_with_the_same_bits(
    learn: Callable[..., dict[str, Any]], tmp_path: Path, stage: str, tuner: str, reading: str
) -> None:
    options = {"finetuning_type": tuner, **TUNERS[tuner], **READING[reading]}
    whole = learn(stage, **options)
    run = tmp_path / "run"
    shutil.rmtree(run / "checkpoint-10")
    for path in run.glob("*.safetensors"):
        path.unlink()
    again = learn(stage, **options)
    assert again["course"] == whole["course"]
    assert again["weights"] == whole["weights"]
    assert [event["step"] for event in again["course"]] == [3, 6, 9]


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "batch": ({"per_device_train_batch_size": 1}, "per_device_train_batch_size was 2 and is 1"),
    "seed": ({"seed": 7}, "seed was 42 and is 7"),
    "rank": ({"lora_rank": 4}, "lora_rank was 8 and is 4"),
    "learning rate": ({"learning_rate": 1e-3}, "learning_rate was 0.01 and is 0.001"),
    "template": ({"template": "llama3"}, "template"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_recipe_is_refused_with_the_difference(learn: Callable[..., dict[str, Any]], change: str) -> None:
    learn("sft", max_steps=1, save_steps=1)
    different, said = CHANGES[change]
    with pytest.raises(CheckpointError, match=said) as refused:
        learn("sft", max_steps=2, save_steps=1, **different)
    assert refused.value.exit_code == 5


def test_changed_data_are_refused_unless_told_otherwise(
    learn: Callable[..., dict[str, Any]], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = shutil.copytree(data, tmp_path / "mine")
    learn("sft", max_steps=1, save_steps=1, dataset_dir=str(mine))
    rows = json.loads((mine / "chats.json").read_text())
    rows[3]["output"] = "It is six."
    (mine / "chats.json").write_text(json.dumps(rows))
    with pytest.raises(CheckpointError, match="the training data have changed"):
        learn("sft", max_steps=2, save_steps=1, dataset_dir=str(mine))
    learn("sft", max_steps=2, save_steps=1, dataset_dir=str(mine), resume_override=True)
    assert "resume_override: the training data have changed" in capsys.readouterr().err


def test_what_does_not_decide_what_is_learned_may_change(learn: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    learn("sft", max_steps=1, save_steps=1)
    (tmp_path / "run").rename(tmp_path / "moved")
    learn("sft", max_steps=2, save_steps=5, logging_steps=1, output_dir=str(tmp_path / "moved"))
    assert {path.name for path in (tmp_path / "moved").glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-2"}


def test_a_checkpoint_without_its_optimizer_is_refused(learn: Callable[..., dict[str, Any]]) -> None:
    learn("sft", max_steps=1, save_steps=1, save_only_model=True)
    with pytest.raises(CheckpointError, match="no optimizer state"):
        learn("sft", max_steps=2, save_steps=1)
