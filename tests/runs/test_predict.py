"""`hone predict` and its like: files, keys, order, taking up, scores, several sets, and evaluations that answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.errors import DataError, RecipeError
from hone.recipe import settle
from hone.runs.predict import predict, run
from hone.runs.train import run as train_verb
from hone.runs.train import train

HOSTILE = "</td><script>alert(1)</script>"
KEYS = {f"predict_{name}" for name in ("bleu-4", "rouge-1", "rouge-2", "rouge-l", "model_preparation_time", "runtime")}
KEYS |= {"predict_samples_per_second", "predict_steps_per_second"}
GREEDY = {"do_sample": False, "max_new_tokens": 6}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A data folder with `chats` (seven rows of several lengths, one hostile) and `few`."""
    folder = tmp_path / "data"
    folder.mkdir()
    chats = [{"instruction": f"How much is {n}? " * (1 + n % 3), "output": f"It is {n}."} for n in range(6)]
    chats.append({"instruction": HOSTILE, "output": HOSTILE})
    (folder / "chats.json").write_text(json.dumps(chats))
    (folder / "few.json").write_text(json.dumps(chats[:2]))
    (folder / "dataset_info.json").write_text(
        json.dumps({name: {"file_name": f"{name}.json"} for name in ("chats", "few")})
    )
    return folder


@pytest.fixture
def recipe(
    tiny_model: Callable[[str], Path], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """A recipe that answers `chats` with the tiny model into `run`."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return {
        "model_name_or_path": str(tiny_model("llama")), "template": "chatml", "dataset_dir": str(rows),
        "eval_dataset": "chats", "output_dir": str(tmp_path / "run"), **GREEDY,
    }  # fmt: skip


def test_answers_are_those_of_one_question_at_a_time_in_the_order_of_the_rows(recipe, tmp_path) -> None:
    metrics = predict(settle(recipe, verb="predict"))
    assert set(metrics) >= KEYS
    found = lines(tmp_path / "run/generated_predictions.jsonl")
    assert [list(row) for row in found] == [["prompt", "predict", "label"]] * 7
    assert [row["label"] for row in found] == [*(f"It is {n}.\n" for n in range(6)), HOSTILE + "\n"]
    assert found[0]["prompt"].startswith("<|im_start|>") and found[0]["prompt"].endswith("assistant\n")
    alone = recipe | {"output_dir": str(tmp_path / "alone"), "per_device_eval_batch_size": 1}
    predict(settle(alone, verb="predict"))
    assert lines(tmp_path / "alone/generated_predictions.jsonl") == found
    written = json.loads((tmp_path / "run/predict_results.json").read_text())
    assert written == metrics and not list((tmp_path / "run").glob("*partial*"))


def test_a_killed_run_goes_on_with_the_answers_it_has(recipe, tmp_path, monkeypatch, capsys) -> None:
    from hone.runs import unfinished

    sampled = recipe | {"do_sample": True, "temperature": 1.5}
    predict(settle(sampled | {"output_dir": str(tmp_path / "whole")}, verb="predict"))
    add, added = unfinished.Unfinished.add, []

    def die_after_three(self, row, content):
        add(self, row, content)
        added.append(row)
        if len(added) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(unfinished.Unfinished, "add", die_after_three)
    with pytest.raises(KeyboardInterrupt):
        predict(settle(sampled, verb="predict"))
    (partial,) = (tmp_path / "run").glob("*partial*")
    with partial.open("a") as file:
        file.write('{"row": 5, "ids": [1,')  # as a kill in the middle of a line leaves it
    monkeypatch.undo()
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    predict(settle(sampled, verb="predict"))
    assert "3 of 7 answers were written before" in capsys.readouterr().err
    name = "generated_predictions.jsonl"
    assert lines(tmp_path / "run" / name) == lines(tmp_path / "whole" / name)


def test_answers_of_other_settings_are_not_taken_over(recipe, tmp_path, capsys) -> None:
    (tmp_path / "run").mkdir()
    old = '{"mark": "of another recipe"}\n{"row": 0, "ids": [5], "finish": "stop"}\n'
    (tmp_path / "run/generated_predictions.partial.jsonl").write_text(old)
    predict(settle(recipe, verb="predict"))
    assert "begun anew" in capsys.readouterr().err


def test_several_sets_are_one_or_each_has_its_own_files(recipe, tmp_path) -> None:
    both = recipe | {"eval_dataset": "few,chats"}
    predict(settle(both | {"max_samples": 2}, verb="predict"))
    assert len(lines(tmp_path / "run/generated_predictions.jsonl")) == 4
    each = both | {"eval_on_each_dataset": True, "output_dir": str(tmp_path / "each")}
    metrics = predict(settle(each, verb="predict"))
    assert {"predict_few_bleu-4", "predict_chats_rouge-l"} <= set(metrics)
    assert len(lines(tmp_path / "each/generated_predictions_few.jsonl")) == 2


def test_the_page_holds_hostile_answers_as_text_and_another_run_beside(recipe, tmp_path) -> None:
    predict(settle(recipe, verb="predict"))
    beside = recipe | {"output_dir": str(tmp_path / "tuned"), "predict_beside": str(tmp_path / "run")}
    predict(settle(beside, verb="predict"))
    page = (tmp_path / "tuned/predictions.html").read_text("utf-8")
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page and "answer beside it" in page
    assert "default-src 'none'" in page and not re.search(r'(src|href)="?http', page)
    few = beside | {"eval_dataset": "few", "output_dir": str(tmp_path / "few")}
    with pytest.raises(DataError, match="other rows"):
        predict(settle(few, verb="predict"))


def test_scores_of_the_users_own_and_of_sacrebleu(recipe, tmp_path, capsys) -> None:
    own = tmp_path / "own.py"
    own.write_text("def words(prompts, completions, answers):\n    return [len(one.split()) for one in answers]\n")
    metrics = predict(settle(recipe | {"predict_metrics": f"bleu,chrf,json_valid,{own}:words"}, verb="predict"))
    assert metrics["predict_words"] == pytest.approx(19 / 7) and metrics["predict_json_valid"] == 0.0
    assert {"predict_bleu", "predict_chrf"} <= set(metrics)
    signed = capsys.readouterr().err, (tmp_path / "run/predictions.html").read_text("utf-8")
    for name, settings in (
        ("bleu", r"nrefs:1\|case:mixed\|eff:no\|tok:13a\|smooth:exp"),
        ("chrf", r"nrefs:1\|case:mixed\|eff:yes\|nc:6\|nw:0"),
    ):
        assert all(re.search(rf"{name}: sacrebleu {settings}\S*\|version:\d", text) for text in signed), signed[0]


@pytest.mark.parametrize(
    "changes",
    [{"predict_metrics": "blue"}, {"predict_metrics": "nowhere.py:f"}, {"stage": "dpo"}, {"eval_dataset": None}],
)
def test_what_cannot_be_is_said_before_the_model_is_loaded(recipe, changes) -> None:
    with pytest.raises(RecipeError):
        predict(settle(recipe | {"model_name_or_path": "nowhere/at-all"} | changes, verb="predict"))


def test_a_prompt_that_leaves_no_room_is_named_by_its_row(recipe, rows) -> None:
    (rows / "few.json").write_text(json.dumps([{"instruction": "goose " * 400, "output": "x"}]))
    with pytest.raises(RecipeError, match="row 1"):
        predict(settle(recipe | {"eval_dataset": "few", "max_new_tokens": 400}, verb="predict"))


def test_the_verb_reads_words_and_train_predicts_when_it_has_trained(recipe, tmp_path) -> None:
    words = [f"{name}={value}" for name, value in recipe.items()]
    assert run(words) == 0
    learning = recipe | {
        "output_dir": str(tmp_path / "both"), "do_train": True, "do_predict": True, "predict_with_generate": True,
        "dataset": "chats", "finetuning_type": "lora", "max_steps": 3, "learning_rate": 0.05,
        "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "logging_steps": 1, "load_best_model_at_end": True,
        "metric_for_best_model": "rouge-l", "stage": "sft",
    }  # fmt: skip
    metrics = train(settle(learning, verb="train"))
    assert {"train_loss", "eval_loss", "eval_bleu-4", "eval_exact_match", "predict_bleu-4"} <= set(metrics)
    state = json.loads((tmp_path / "both/trainer_state.json").read_text())
    scores = {event["step"]: event["eval_rouge-l"] for event in state["log_history"] if "eval_rouge-l" in event}
    assert len(scores) == 3 and state["best_metric"] == max(scores.values())
    assert metrics["predict_rouge-l"] == pytest.approx(scores[state["best_global_step"]], abs=0.01)
    tuned = lines(tmp_path / "both/generated_predictions.jsonl")
    assert tuned != lines(tmp_path / "run/generated_predictions.jsonl")


def test_answering_between_steps_changes_nothing_that_is_learned(recipe, tmp_path) -> None:
    losses = []
    for name, answers in (("plain", False), ("answers", True)):
        learning = recipe | {
            "output_dir": str(tmp_path / name), "do_train": True, "predict_with_generate": answers, "dataset": "chats",
            "finetuning_type": "lora", "lora_dropout": 0.1, "max_steps": 3, "eval_strategy": "steps", "eval_steps": 1,
            "logging_steps": 1, "do_sample": True,
        }  # fmt: skip
        train(settle(learning, verb="train"))
        history = json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
        losses.append([event["loss"] for event in history if "loss" in event])
    assert losses[0] == losses[1]


def test_early_stopping_follows_a_score_of_generated_answers(recipe, tmp_path) -> None:
    learning = recipe | {
        "do_train": True, "predict_with_generate": True, "dataset": "chats", "finetuning_type": "lora", "max_steps": 5,
        "learning_rate": 1e-12, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1,
        "load_best_model_at_end": True, "metric_for_best_model": "rouge-l", "early_stopping_steps": 1,
    }  # fmt: skip
    train(settle(learning, verb="train"))
    state = json.loads((tmp_path / "run/trainer_state.json").read_text())
    assert state["global_step"] == 2 and state["best_global_step"] == 1


def test_the_tutorials_words_answer_with_an_adapter(recipe, tmp_path) -> None:
    adapter = tmp_path / "adapter"
    learning = {"do_train": True, "dataset": "chats", "finetuning_type": "lora", "max_steps": 3, "learning_rate": 0.05}
    train(settle(recipe | learning | {"eval_dataset": None, "output_dir": str(adapter)}, verb="train"))
    words = (
        "--stage sft --do_predict --predict_with_generate --model_name_or_path {model} --eval_dataset few,chats"
        " --dataset_dir {data} --template chatml --finetuning_type lora --adapter_name_or_path {adapter}"
        " --output_dir {out} --per_device_eval_batch_size 1 --max_samples 20 --overwrite_cache --overwrite_output_dir"
        " --cutoff_len 1024 --preprocessing_num_workers 16 --do_sample false --max_new_tokens 6"
    )
    names = {"model": recipe["model_name_or_path"], "data": recipe["dataset_dir"], "adapter": adapter}
    assert train_verb(words.format(**names, out=tmp_path / "words").split()) in (None, 0)
    found = lines(tmp_path / "words/generated_predictions.jsonl")
    assert len(found) == 9 and set(json.loads((tmp_path / "words/predict_results.json").read_text())) >= KEYS
    predict(settle(recipe | {"eval_dataset": "few,chats"}, verb="predict"))
    assert found != lines(tmp_path / "run/generated_predictions.jsonl")
