"""`hone train` from recipe to run directory, on a tiny random model: files, keys, resuming, refusing, evaluating."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from hone.errors import CheckpointError, RecipeError
from hone.recipe import settle
from hone.runs.train import train

Train = Callable[..., dict[str, float]]
HOLD = """
import pathlib, sys, time
from hone.rundir import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A data set folder with twelve short chats (`chats`), two of them again (`few`), and some texts (`texts`)."""
    folder = tmp_path / "data"
    folder.mkdir()
    chats = [
        {"instruction": f"How much is {n} and {n}?", "input": "", "output": f"It is {2 * n}. " * (1 + n % 3)}
        for n in range(12)
    ]
    (folder / "chats.json").write_text(json.dumps(chats))
    (folder / "few.json").write_text(json.dumps(chats[:2]))
    texts = [json.dumps({"text": f"{n} geese watch {n} foxes."}) for n in range(20)]
    (folder / "texts.jsonl").write_text("\n".join(texts))
    entries = {name: {"file_name": f"{name}.json"} for name in ("chats", "few")}
    entries["texts"] = {"file_name": "texts.jsonl", "columns": {"prompt": "text"}}
    (folder / "dataset_info.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture
def train_tiny(tiny_model: Callable[[str], Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """`train_tiny(max_steps=2, …)` runs a LoRA recipe on the tiny model into `run`."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))

    def run(**changes: Any) -> dict[str, float]:
        values = {
            "model_name_or_path": str(tiny_model("llama")),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "dataset": "chats",
            "dataset_dir": str(rows),
            "template": "chatml",
            "cutoff_len": 64,
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "max_steps": 4,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
        }
        values |= changes
        return train(settle({name: value for name, value in values.items() if value is not None}, verb="train"))

    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def read(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def test_speed_and_memory_are_written_down_when_asked(train_tiny: Train, run: Path) -> None:
    train_tiny(include_effective_tokens_per_second=True, record_vram=True, max_steps=2)
    found = read(run / "train_results.json")
    assert found["effective_tokens_per_sec"] > 0
    assert found["model_tflops_per_sec"] > 0
    assert 0 < found["mfu"] < 1
    lines = [json.loads(line) for line in (run / "trainer_log.jsonl").read_text("utf-8").splitlines()]
    assert all(0.05 < line["memory_resident"] < 64 for line in lines)
    train_tiny(max_steps=1, overwrite_output_dir=True)
    assert "mfu" not in read(run / "train_results.json")
    assert "memory_resident" not in (run / "trainer_log.jsonl").read_text("utf-8")


@pytest.mark.parametrize(
    ("lengths", "rates"),
    [
        (None, [0, 1, 1, 1, 0.8536, 0.5, 0.1464]),
        ({"num_stable_steps": 4}, [0, 1, 1, 1, 1, 1, 0.5]),
        ({"num_decay_steps": 2, "min_lr_ratio": 0.5}, [0.5, 1, 1, 1, 1, 1, 0.75]),
    ],
)
def test_the_rate_warms_up_stays_and_decays_by_lengths_that_need_not_be_given(
    train_tiny: Train, run: Path, lengths: dict[str, float] | None, rates: list[float]
) -> None:
    train_tiny(lr_scheduler_type="warmup_stable_decay", lr_scheduler_kwargs=lengths, warmup_steps=1, max_steps=7)
    lines = [json.loads(line) for line in (run / "trainer_log.jsonl").read_text("utf-8").splitlines()]
    assert [line["lr"] / 1e-2 for line in lines if "lr" in line] == pytest.approx(rates, abs=1e-4)


def test_a_run_with_evaluation_leaves_the_files_that_tools_expect(
    train_tiny: Train, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_tiny(
        val_size=4,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=3,
        compute_accuracy=True,
        plot_loss=True,
    )
    shown = capsys.readouterr()
    names = {path.name for path in run.iterdir()} - {".hone.lock"}
    assert names == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "all_results.json", "chat_template.jinja",
        "checkpoint-3", "checkpoint-4", "eval_results.json", "hone.json", "recipe.yaml", "run.json", "tokenizer.json",
        "tokenizer_config.json", "train_results.json", "trainer_log.jsonl", "trainer_state.json",
        "training_eval_accuracy.png", "training_eval_loss.png", "training_loss.png",
    }  # fmt: skip
    assert {path.name for path in (run / "checkpoint-3").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "hone.json", "manifest.json",
        "optimizer.pt", "progress.json",
        "rng_state.pth", "scheduler.pt", "tokenizer.json", "tokenizer_config.json", "trainer_state.json",
    }  # fmt: skip
    train_keys = {
        "epoch", "total_flos", "train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second"
    }  # fmt: skip
    eval_keys = {"epoch", "eval_accuracy", "eval_loss", "eval_runtime"}
    eval_keys |= {"eval_samples_per_second", "eval_steps_per_second"}
    assert set(read(run / "train_results.json")) == train_keys
    assert set(read(run / "eval_results.json")) == eval_keys
    assert set(read(run / "all_results.json")) == train_keys | eval_keys
    history = read(run / "trainer_state.json")["log_history"]
    assert set(history[0]) == {"epoch", "grad_norm", "learning_rate", "loss", "step"}
    for title in ("training example:", "input_ids:", "inputs:", "label_ids:", "labels:"):
        assert title in shown.err
    assert "***** train metrics *****" in shown.out and "***** eval metrics *****" in shown.out


def test_the_run_directory_says_how_the_model_is_to_be_asked(train_tiny: Train, run: Path) -> None:
    train_tiny(max_steps=1, default_system="Be brief.", hf_hub_token="hf_secret_token")
    card = read(run / "hone.json")
    assert (card["template"], card["stage"], card["finetuning_type"]) == ("chatml", "sft", "lora")
    assert card["template_options"]["default_system"] == "Be brief."
    assert card["base_fingerprint"] and card["template_fingerprint"]
    recipe = yaml.safe_load((run / "recipe.yaml").read_text("utf-8"))
    assert (recipe["max_steps"], recipe["lora_alpha"], recipe["template"]) == (1, 16, "chatml")
    page = (run / "README.md").read_text("utf-8")
    head = yaml.safe_load(page.split("---")[1])
    assert head["library_name"] == "peft" and "lora" in head["tags"]
    assert "train_loss" in page
    assert not [p for p in run.rglob("*") if p.is_file() and b"hf_secret_token" in p.read_bytes()]


def test_a_run_that_was_cut_off_goes_on_by_itself_and_ends_the_same(
    train_tiny: Train, run: Path, tmp_path: Path
) -> None:
    train_tiny(save_strategy="steps", save_steps=2)
    whole = load_file(run / "adapter_model.safetensors")
    for name in ("checkpoint-4", "adapter_model.safetensors", "train_results.json"):
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    train_tiny(save_strategy="steps", save_steps=2)
    resumed = load_file(run / "adapter_model.safetensors")
    assert all((whole[name] == resumed[name]).all() for name in whole)
    events = [json.loads(line) for line in (run / "trainer_log.jsonl").read_text().splitlines()]
    assert [event["current_steps"] for event in events if "loss" in event] == [1, 2, 3, 4]


def test_a_stream_that_is_taken_up_goes_on_exactly_where_it_stopped(train_tiny: Train, run: Path) -> None:
    # Eight steps of two examples go through the twelve chats once and a bit.
    options = {"streaming": True, "buffer_size": 5, "max_steps": 8, "save_strategy": "steps", "save_steps": 7,
               "lora_dropout": 0.1}  # fmt: skip
    train_tiny(**options)
    whole = load_file(run / "adapter_model.safetensors")
    shutil.rmtree(run / "checkpoint-8")
    (run / "adapter_model.safetensors").unlink()
    train_tiny(**options)
    resumed = load_file(run / "adapter_model.safetensors")
    assert all((whole[name] == resumed[name]).all() for name in whole)


def test_a_stream_that_is_not_to_be_shuffled_equals_the_prepared_set(train_tiny: Train, run: Path) -> None:
    train_tiny(streaming=True, disable_shuffling=True)
    streamed = load_file(run / "adapter_model.safetensors")
    train_tiny(disable_shuffling=True, overwrite_output_dir=True)
    prepared = load_file(run / "adapter_model.safetensors")
    assert all((streamed[name] == prepared[name]).all() for name in streamed)


def test_a_stream_is_evaluated_on_what_it_does_not_train_on(train_tiny: Train, run: Path) -> None:
    metrics = train_tiny(streaming=True, val_size=2, eval_strategy="steps", eval_steps=2, do_eval=True)
    assert metrics["eval_loss"] > 0
    assert read(run / "trainer_state.json")["global_step"] == 4


def test_each_evaluation_set_has_its_own_metrics(train_tiny: Train) -> None:
    metrics = train_tiny(eval_dataset="few,chats", eval_on_each_dataset=True, do_eval=True, max_steps=1)
    assert metrics.keys() >= {"eval_few_loss", "eval_chats_loss"}


def test_tokenized_data_are_trained_on_again_as_they_are(train_tiny: Train, run: Path, tmp_path: Path) -> None:
    train_tiny(tokenized_path=str(tmp_path / "tokens"))
    first = load_file(run / "adapter_model.safetensors")
    train_tiny(tokenized_path=str(tmp_path / "tokens"), overwrite_output_dir=True)
    again = load_file(run / "adapter_model.safetensors")
    assert all((first[name] == again[name]).all() for name in first)


def test_a_finished_run_is_not_trained_again(train_tiny: Train, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tiny(save_strategy="steps", save_steps=2)
    before = read(run / "train_results.json")
    train_tiny(save_strategy="steps", save_steps=2)
    assert "nothing was left to train" in capsys.readouterr().err
    assert read(run / "train_results.json") == before


def test_more_steps_go_on_from_the_end(train_tiny: Train, run: Path) -> None:
    train_tiny(save_strategy="steps", save_steps=4)
    train_tiny(save_strategy="steps", save_steps=4, max_steps=6)
    history = read(run / "trainer_state.json")["log_history"]
    assert [event["step"] for event in history if "loss" in event] == [1, 2, 3, 4, 5, 6]


def test_weights_without_a_checkpoint_are_refused_and_overwriting_begins_anew(train_tiny: Train, run: Path) -> None:
    train_tiny(max_steps=2)
    with pytest.raises(RecipeError, match="overwrite_output_dir"):
        train_tiny(max_steps=2)
    train_tiny(max_steps=1, overwrite_output_dir=True)
    events = [json.loads(line) for line in (run / "trainer_log.jsonl").read_text().splitlines()]
    assert [event["current_steps"] for event in events if "loss" in event] == [1]


def test_a_checkpoint_that_is_not_there_is_said_before_the_data_is_read(train_tiny: Train, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        train_tiny(resume_from_checkpoint=str(tmp_path / "nowhere"), dataset="missing")


def test_a_second_run_in_the_same_folder_is_refused_and_a_killed_one_does_not_block(
    train_tiny: Train, run: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline().strip() == "held"
        with pytest.raises(RecipeError, match=f"in use by pid {holder.pid}"):
            train_tiny(max_steps=1)
        holder.kill()
    assert train_tiny(max_steps=1)["train_loss"] > 0


def test_evaluation_alone_measures_and_changes_nothing(train_tiny: Train, run: Path, tmp_path: Path) -> None:
    train_tiny(max_steps=2)
    measured = train_tiny(
        do_train=None, do_eval=True, dataset=None, eval_dataset="chats", adapter_name_or_path=str(run),
        output_dir=str(tmp_path / "measured"),
    )  # fmt: skip
    assert set(read(tmp_path / "measured/eval_results.json")) >= {"eval_loss", "eval_runtime"}
    assert not (tmp_path / "measured/adapter_model.safetensors").exists()
    assert read(tmp_path / "measured/all_results.json")["eval_loss"] == measured["eval_loss"]


def test_pretraining_reports_its_perplexity(train_tiny: Train) -> None:
    metrics = train_tiny(stage="pt", dataset="texts", val_size=4, eval_strategy="steps", eval_steps=4, template=None)
    assert metrics["eval_perplexity"] == pytest.approx(2.718281828 ** metrics["eval_loss"])


def test_each_evaluation_set_can_have_its_own_loss(train_tiny: Train) -> None:
    metrics = train_tiny(
        eval_dataset="chats,few", eval_on_each_dataset=True, eval_strategy="steps", eval_steps=2, save_strategy="steps",
        save_steps=2, load_best_model_at_end=True, metric_for_best_model="eval_few_loss",
    )  # fmt: skip
    assert {"eval_chats_loss", "eval_few_loss", "eval_loss"} <= set(metrics)


def test_a_metric_that_no_evaluation_brings_is_refused_before_training(train_tiny: Train, run: Path) -> None:
    with pytest.raises(RecipeError, match="eval_loss"):
        train_tiny(
            val_size=2, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2,
            load_best_model_at_end=True, metric_for_best_model="eval_accuracy",
        )  # fmt: skip
    assert not (run / "trainer_log.jsonl").exists()


@pytest.mark.parametrize("tuner", ["full", "freeze"])
def test_whole_weights_are_saved_where_whole_weights_learn(train_tiny: Train, run: Path, tuner: str) -> None:
    train_tiny(finetuning_type=tuner, max_steps=1, learning_rate=1e-4)
    assert {"config.json", "model.safetensors", "hone.json"} <= {path.name for path in run.iterdir()}


def test_computing_activations_again_changes_no_number(train_tiny: Train, run: Path, tmp_path: Path) -> None:
    losses = []
    for place, off in (("kept", True), ("again", False)):
        train_tiny(
            output_dir=str(tmp_path / place), disable_gradient_checkpointing=off, finetuning_type="full", max_steps=2
        )
        losses.append([e["loss"] for e in read(tmp_path / place / "trainer_state.json")["log_history"] if "loss" in e])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_run_whose_disk_is_full_ends_before_its_first_step(
    train_tiny: Train, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hone.errors import MachineError
    from hone.training.checkpoints import room

    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(MachineError, match="10 bytes are free") as refused:
        train_tiny()
    assert refused.value.exit_code == 6
    assert not (run / "trainer_log.jsonl").exists()
