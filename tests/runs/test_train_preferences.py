"""`hone train` with preferences, on a tiny random model: examples, measures of each set, references, resuming."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from hone.errors import RecipeError
from hone.recipe import settle
from hone.runs.train import train

ROOT = Path(__file__).parents[2]
DATA = {"dpo": "dpo_en_demo", "rm": "dpo_en_demo", "kto": "kto_en_demo", "sft": "alpaca_en_demo"}
Train = Callable[..., dict[str, float]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Callable[[str], Path]) -> Train:
    """`run(stage="dpo", …)` trains three steps on the demo sets into `run`; gives the metrics."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))

    def carry_out(**changes: Any) -> dict[str, float]:
        values: dict[str, Any] = {
            "model_name_or_path": str(tiny_model("llama")),
            "stage": "dpo",
            "do_train": True,
            "finetuning_type": "lora",
            "lora_target": "q_proj,v_proj",
            "dataset": DATA[changes.get("stage", "dpo")],
            "dataset_dir": str(ROOT / "data"),
            "template": "chatml",
            "cutoff_len": 96,
            "max_samples": 8,
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 2,
            "max_steps": 3,
            "logging_steps": 1,
            "learning_rate": 1e-3,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
        }
        given = {name: value for name, value in (values | changes).items() if value is not None}
        return train(settle(given, verb="train"))

    return carry_out


def history(folder: Path) -> list[dict[str, Any]]:
    return [one for one in json.loads((folder / "trainer_state.json").read_text())["log_history"] if "loss" in one]


@pytest.mark.parametrize("tuner", ["full", "freeze"])
def test_a_policy_that_is_its_reference_prefers_nothing_not_even_by_rounding(
    run: Train, tuner: str, tmp_path: Path
) -> None:
    run(stage="dpo", finetuning_type=tuner, lora_target=None, max_steps=1)
    first = history(tmp_path / "run")[0]
    assert first["rewards/margins"] == first["rewards/chosen"] == first["rewards/accuracies"] == 0.0


@pytest.mark.parametrize("stage", ["dpo", "kto", "rm"])
def test_every_evaluation_set_has_the_measures_of_its_stage(run: Train, stage: str, tmp_path: Path) -> None:
    other = tmp_path / "data"
    shutil.copytree(ROOT / "data", other)
    book = json.loads((other / "dataset_info.json").read_text())
    book["second"] = book[DATA[stage]]
    (other / "dataset_info.json").write_text(json.dumps(book))
    best = {"dpo": "rewards/margins", "kto": "rewards/chosen", "rm": "accuracy"}[stage]
    metrics = run(
        stage=stage, dataset_dir=str(other), eval_dataset=f"{DATA[stage]},second", eval_on_each_dataset=True,
        do_eval=True, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1, plot_loss=True,
        load_best_model_at_end=True, metric_for_best_model=f"eval_second_{best}",
    )  # fmt: skip
    measures = {"rm": ["accuracy"]}.get(
        stage, ["rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen"]
    )
    for measure in ["loss", *measures]:
        assert metrics[f"eval_second_{measure}"] == pytest.approx(metrics[f"eval_{DATA[stage]}_{measure}"], rel=1e-4)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    curve = {"dpo": "training_rewards_accuracies.png", "kto": "training_rewards_chosen.png"}.get(stage)
    assert {"training_loss.png", *([curve] if curve else [])} <= names
    assert ("value_head.safetensors" in names) == (stage == "rm")
    if stage == "rm":
        assert "value_head.safetensors" in {path.name for path in (tmp_path / "run/checkpoint-3").iterdir()}


WAYS: list[dict[str, Any]] = [
    {"stage": "dpo", "finetuning_type": "full", "lora_target": None},
    {"stage": "dpo", "streaming": True, "max_samples": None},
    {"stage": "dpo", "dataloader_num_workers": 1},
    {"stage": "kto", "finetuning_type": "freeze", "lora_target": None, "freeze_trainable_layers": 1},
    {"stage": "kto", "packing": True},
    {"stage": "rm", "finetuning_type": "full", "lora_target": None},
    {"stage": "rm", "packing": True},
]


@pytest.mark.parametrize("changes", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_stages_train_with_other_tuners_and_ways_of_reading(
    run: Train, changes: dict[str, Any], tmp_path: Path
) -> None:
    run(**changes)
    steps = history(tmp_path / "run")
    assert len(steps) == 3
    assert all(step["grad_norm"] > 0 for step in steps)
    if changes["stage"] == "dpo":
        assert steps[0]["rewards/margins"] == pytest.approx(0, abs=1e-5), "the policy begins as its reference"
        assert steps[-1]["rewards/margins"] != 0


def test_a_reference_of_its_own_is_the_same_as_the_adapter_off(
    run: Train, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    run(output_dir=str(tmp_path / "off"))
    run(output_dir=str(tmp_path / "own"), ref_model=str(tiny_model("llama")))
    for one, other in zip(history(tmp_path / "off"), history(tmp_path / "own"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["rewards/margins"] == pytest.approx(other["rewards/margins"], rel=1e-3, abs=1e-6)


def test_an_adapter_is_evaluated_against_its_base(run: Train, tmp_path: Path) -> None:
    trained = run(do_eval=True, eval_dataset="dpo_en_demo", max_steps=6)
    adapter = str(tmp_path / "run")
    looked = run(
        do_train=False, dataset=None, do_eval=True, eval_dataset="dpo_en_demo", adapter_name_or_path=adapter,
        output_dir=str(tmp_path / "look"),
    )  # fmt: skip
    assert looked["eval_rewards/margins"] == pytest.approx(trained["eval_rewards/margins"], rel=1e-3)
    assert abs(looked["eval_rewards/margins"]) > 1e-4


@pytest.mark.parametrize("settings", [{"stage": "rm"}, {"stage": "dpo", "pref_bco_weight": 0.5}, {"stage": "kto"}])
def test_a_resumed_run_is_the_one_that_was_never_stopped(run: Train, settings: Any, tmp_path: Path) -> None:
    run(**settings, max_steps=4, save_strategy="steps", save_steps=2, output_dir=str(tmp_path / "whole"))
    shutil.copytree(tmp_path / "whole/checkpoint-2", tmp_path / "parted/checkpoint-2")
    shutil.copy(tmp_path / "whole/recipe.yaml", tmp_path / "parted/recipe.yaml")
    run(**settings, max_steps=4, save_strategy="steps", save_steps=2, output_dir=str(tmp_path / "parted"))
    assert history(tmp_path / "parted") == history(tmp_path / "whole")
    for file in ("adapter_model.safetensors", *(["value_head.safetensors"] if settings["stage"] == "rm" else [])):
        one, other = (load_file(tmp_path / name / file) for name in ("parted", "whole"))
        assert all((one[name] == other[name]).all() for name in other)


def test_a_reward_model_goes_on_with_its_head(run: Train, tmp_path: Path) -> None:
    run(stage="rm")
    run(stage="rm", learning_rate=1e-9, adapter_name_or_path=str(tmp_path / "run"), output_dir=str(tmp_path / "on"))
    one, other = (load_file(tmp_path / name / "value_head.safetensors") for name in ("run", "on"))
    assert all(abs(one[name] - other[name]).max() < 1e-6 for name in one)


def test_a_reward_model_scores_the_pairs_of_a_set(run: Train, tmp_path: Path) -> None:
    found = run(stage="rm", do_predict=True, do_eval=True, eval_dataset="dpo_en_demo", per_device_eval_batch_size=3)
    file = tmp_path / "run/generated_predictions.jsonl"
    pairs = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert len(pairs) == 8
    assert all(set(pair) == {"chosen", "rejected"} and round(pair["chosen"], 2) == pair["chosen"] for pair in pairs)
    assert found["predict_accuracy"] == found["eval_accuracy"]
    assert found["predict_loss"] == pytest.approx(found["eval_loss"], rel=1e-4)
    again = run(
        stage="rm", do_train=False, do_predict=True, eval_dataset="dpo_en_demo", dataset=None,
        adapter_name_or_path=str(tmp_path / "run"), output_dir=str(tmp_path / "scores"), max_steps=None,
    )  # fmt: skip
    assert again["predict_loss"] == pytest.approx(found["predict_loss"], rel=1e-4)
    assert (tmp_path / "scores/generated_predictions.jsonl").read_bytes() == file.read_bytes()
    with pytest.raises(RecipeError, match="do_predict"):
        run(stage="dpo", do_predict=True, eval_dataset="dpo_en_demo")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pref_loss": "orpo", "ref_model": "x"}, "ref_model"),
        ({"pref_loss": "simpo", "pref_bco_weight": 1.0}, "pref_bco_weight"),
        ({"pref_loss": "hinge", "dpo_label_smoothing": 0.1}, "dpo_label_smoothing"),
        ({"dpo_label_smoothing": 0.5}, "dpo_label_smoothing"),
        ({"pref_loss": "ipo", "pref_beta": 0.0}, "pref_beta"),
        ({"ref_model_adapters": "x"}, "ref_model_adapters"),
        ({"stage": "sft", "use_dft_loss": True, "use_eaft_loss": True}, "use_dft_loss and use_eaft_loss"),
        ({"stage": "rm", "use_asft_loss": True}, "use_asft_loss"),
        ({"do_train": False, "do_eval": True, "eval_dataset": "dpo_en_demo", "dataset": None}, "ref_model"),
        ({"dataset": "alpaca_en_demo"}, "alpaca_en_demo"),
    ],
)
def test_what_does_not_go_together_is_refused(run: Train, changes: Any, named: str) -> None:
    from hone.errors import DataError

    with pytest.raises((RecipeError, DataError), match=named):
        run(**changes)
