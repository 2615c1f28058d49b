"""GRPO in whole runs: what it learns from, that the reward rises, resumes to the same bits, and measures sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import RecipeError
from hone.recipe import settle

DIGITS = r"regex:\d"
WORDS = ("fox", "dog", "goose", "example")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """`run(model, max_steps=3, …)` trains and returns the events of the log."""
    from hone.runs.train import train

    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"How many legs does a {word} have?", "output": ""} for word in WORDS]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows.json").write_text(json.dumps(rows))
    (tmp_path / "data/dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))

    def make(model: Path, folder: str = "run", **values: Any) -> list[dict[str, Any]]:
        recipe = {
            "model_name_or_path": str(model), "stage": "grpo", "do_train": True, "dataset": "rows",
            "template": "chatml", "dataset_dir": str(tmp_path / "data"), "cutoff_len": 64,
            "output_dir": str(tmp_path / folder), "per_device_train_batch_size": 4, "learning_rate": 1e-2,
            "logging_steps": 1, "save_strategy": "no", "report_to": "none", "use_cpu": True, "lr_scheduler_type":
            "constant", "reward_funcs": [DIGITS], "num_generations": 8, "max_new_tokens": 6, "temperature": 1.0,
            "top_p": 1.0, "top_k": 0, **values,
        }  # fmt: skip
        recipe = {name: value for name, value in recipe.items() if value is not None}
        train(settle(recipe, verb="train"))
        return list(json.loads((tmp_path / folder / "trainer_state.json").read_text())["log_history"])

    return make


def column(events: list[dict[str, Any]], name: str) -> list[float]:
    return [event[name] for event in events if name in event]


def test_the_reward_rises_and_all_is_measured(run: Callable[..., Any], tiny_model: Callable[[str], Path]) -> None:
    # Whole weights: the head of a random model has to learn, which adapters leave alone.
    events = run(
        tiny_model("llama"), max_steps=15, reward_funcs=[DIGITS, "length:6"], reward_weights=[1.0, 0.0],
        finetuning_type="full",
    )  # fmt: skip
    rewards = column(events, "reward")
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.3
    first = events[0]
    assert first["rewards/regex"] == pytest.approx(first["reward"])
    assert 0 < first["rewards/length"] < 1
    assert 0 < first["reward/std"] < 1
    assert first["completion_length"] == pytest.approx(6, abs=0.5)
    assert first["logprob_gap"] < 1e-4
    assert first["clip_ratio"] == 0
    assert "kl" not in first


def test_answers_learned_from_twice_leave_the_policy_that_wrote_them_and_the_reference(
    run: Callable[..., Any], tiny_model: Callable[[str], Path]
) -> None:
    events = run(
        tiny_model("llama"), max_steps=4, num_iterations=2, beta=0.1, epsilon=0.01, per_device_train_batch_size=2
    )
    assert column(events, "kl")[0] == pytest.approx(0, abs=1e-6)
    assert column(events, "kl")[1] > 1e-6
    clipped = column(events, "clip_ratio")
    assert clipped[0] == clipped[2] == 0
    assert clipped[1] > 0
    assert max(column(events, "logprob_gap")) < 1e-4
    assert column(events, "reward")[0] == column(events, "reward")[1]


def test_a_resumed_run_ends_with_the_same_bits(
    run: Callable[..., Any], tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    values = {"save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 2, "num_iterations": 2}
    whole = run(tiny_model("llama"), "whole", max_steps=4, **values)
    checkpoint = tmp_path / "whole/checkpoint-2"
    again = run(tiny_model("llama"), "again", max_steps=4, resume_from_checkpoint=str(checkpoint), **values)
    assert column(whole, "loss") == column(again, "loss")
    assert column(whole, "reward") == column(again, "reward")
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_evaluation_writes_answers_and_measures_rewards(
    run: Callable[..., Any], tiny_model: Callable[[str], Path]
) -> None:
    events = run(tiny_model("llama"), max_steps=1, eval_dataset="rows", eval_strategy="steps", eval_steps=1)
    evaluated = next(event for event in events if "eval_loss" in event)
    assert 0 <= evaluated["eval_reward"] <= 1
    assert evaluated["eval_completion_length"] > 0


@pytest.mark.parametrize("stage", ["grpo", "ppo"])
def test_questions_without_answers_are_no_data_that_teach_too_little(
    run: Callable[..., Any], tiny_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    """What is learned are answers of the model's own: no share of the rows' tokens says anything about that."""
    run(tiny_model("llama"), stage=stage, num_generations=2 if stage == "grpo" else None, max_steps=1)
    shown = capsys.readouterr()
    assert "DATA-" not in shown.err + shown.out


def test_whole_weights_learn_too(run: Callable[..., Any], tiny_model: Callable[[str], Path]) -> None:
    events = run(tiny_model("llama"), max_steps=2, finetuning_type="full", beta=0.1, learning_rate=1e-3)
    assert column(events, "kl")[1] > 0


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_reward_model_scores_as_it_does_alone(
    run: Callable[..., Any], tiny_model: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    from hone.runs.train import train

    pairs = [{"instruction": f"Say {word}.", "chosen": f"{word} 1", "rejected": word} for word in WORDS]
    (tmp_path / "data/pairs.json").write_text(json.dumps(pairs))
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    book = json.loads((tmp_path / "data/dataset_info.json").read_text())
    book["pairs"] = {"file_name": "pairs.json", "ranking": True, "columns": columns}
    (tmp_path / "data/dataset_info.json").write_text(json.dumps(book))
    base, judge = tiny_model("llama"), tmp_path / "judge"
    recipe = {
        "model_name_or_path": str(base), "stage": "rm", "do_train": True, "dataset": "pairs", "template": "chatml",
        "dataset_dir": str(tmp_path / "data"), "output_dir": str(judge), "max_steps": 2, "learning_rate": 1e-2,
        "save_strategy": "no", "report_to": "none", "use_cpu": True, "finetuning_type": kind, "cutoff_len": 64,
    }  # fmt: skip
    train(settle(recipe, verb="train"))
    events = run(
        base, max_steps=1, reward_funcs=[DIGITS], reward_model=str(judge), reward_model_type=kind,
        reward_weights=[0.0, 2.0],
    )  # fmt: skip
    assert events[0]["reward"] == pytest.approx(2 * events[0]["rewards/reward_model"], rel=1e-4)
    assert events[0]["reward/std"] > 0
    saved = {path.name for path in (tmp_path / "run").iterdir()}
    assert "adapter_model.safetensors" in saved
    assert "value_head.safetensors" not in saved


def test_a_service_scores(run: Callable[..., Any], tiny_model: Callable[[str], Path]) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            scores = json.dumps({"scores": [float("fox" in text) for text in asked["messages"]]})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(scores.encode())

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Service)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1/score"
        events = run(tiny_model("llama"), max_steps=1, reward_funcs=None, reward_model=url, reward_model_type="api")
    finally:
        server.shutdown()
    assert events[0]["rewards/reward_model"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"reward_funcs": []}, "reward_funcs"),
        ({"reward_weights": [1.0, 2.0]}, "reward_weights"),
        ({"do_sample": False}, "do_sample"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
        ({"packing": True}, "packing"),
        ({"stage": "sft"}, "reward_funcs"),
        ({"reward_funcs": ["regexp:x"]}, "REWARD"),
    ],
)
def test_what_does_not_go_together_is_refused(
    run: Callable[..., Any], tiny_model: Callable[[str], Path], change: dict[str, Any], named: str
) -> None:
    with pytest.raises(RecipeError, match=named):
        run(tiny_model("llama"), max_steps=1, **change)


@pytest.mark.slow
@pytest.mark.model
def test_the_small_real_model_learns_to_answer_with_a_digit(run: Callable[..., Any], small_model: Path) -> None:
    events = run(
        small_model, max_steps=10, per_device_train_batch_size=2, learning_rate=1e-3, max_new_tokens=16, template=None,
        lora_rank=16,
    )  # fmt: skip
    rewards = column(events, "reward")
    print("rewards:", [round(value, 3) for value in rewards])
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.3
