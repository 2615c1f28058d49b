"""PPO in whole runs: what it learns from, that the reward rises, resumes to the same bits, and keeps its value head."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hone.errors import MachineError, RecipeError
from hone.recipe import settle

DIGITS = r"regex:\d"
WORDS = ("fox", "dog", "goose", "example")
ANIMALS = (
    *WORDS[:3],
    "cat",
    "spider",
    "horse",
    "hen",
    "ant",
    "bee",
    "frog",
    "cow",
    "snail",
    "duck",
    "crab",
    "mouse",
    "owl",
)
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(model, max_steps=3, …)` trains and returns the events of the log."""
    from hone.runs.train import train

    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": f"How many legs does a {word} have?", "output": ""} for word in WORDS]
    pairs = [{"instruction": f"Say {word}.", "chosen": f"{word} 1", "rejected": word} for word in WORDS]
    many = [{"instruction": f"{number} {word}?", "output": ""} for word in WORDS for number in range(8)]
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    legs = [{"instruction": f"How many legs does a {word} have?", "output": ""} for word in ANIMALS]
    book = {
        "rows": {"file_name": "rows.json"},
        "legs": {"file_name": "legs.json"},
        "many": {"file_name": "many.json"},
        "pairs": {"file_name": "pairs.json", "ranking": True, "columns": columns},
    }
    (tmp_path / "data").mkdir()
    for name, content in (("rows", rows), ("legs", legs), ("many", many), ("pairs", pairs), ("dataset_info", book)):
        (tmp_path / f"data/{name}.json").write_text(json.dumps(content))

    def make(model: Path, folder: str = "run", **values: Any) -> list[dict[str, Any]]:
        recipe = {
            "model_name_or_path": str(model), "stage": "ppo", "do_train": True, "dataset": "rows",
            "template": "chatml", "dataset_dir": str(tmp_path / "data"), "cutoff_len": 64,
            "output_dir": str(tmp_path / folder), "per_device_train_batch_size": 4, "learning_rate": 1e-2,
            "logging_steps": 1, "save_strategy": "no", "report_to": "none", "use_cpu": True, "lr_scheduler_type":
            "constant", "max_new_tokens": 6, "temperature": 1.0, "top_p": 1.0, "top_k": 0, **values,
        }  # fmt: skip
        recipe = {name: value for name, value in recipe.items() if value is not None}
        train(settle(recipe, verb="train"))
        return list(json.loads((tmp_path / folder / "trainer_state.json").read_text())["log_history"])

    return make


@pytest.fixture
def judge(run: Run, tiny_model: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """`judge("lora")` is a reward model that `rm` trained."""

    def make(kind: str) -> Path:
        generating = dict.fromkeys(("max_new_tokens", "temperature", "top_p", "top_k"))
        run(
            tiny_model("llama"), "judge", stage="rm", dataset="pairs", finetuning_type=kind, max_steps=2, **generating
        )  # fmt: skip
        return tmp_path / "judge"

    return make


@pytest.fixture
def service() -> Iterator[Callable[[Any], str]]:
    """`service(answer)` is the address of a server that answers `answer(texts)`."""
    servers = []

    def make(answer: Callable[[list[str]], Any]) -> str:
        class Service(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(answer(asked["messages"])).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Service)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/v1/score"

    yield make
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def column(events: list[dict[str, Any]], name: str) -> list[float]:
    return [event[name] for event in events if name in event]


def test_the_reward_rises_and_all_is_measured(run: Run, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    # Whole weights: the head of a random model has to learn, which adapters leave alone.
    events = run(
        tiny_model("llama"), max_steps=24, reward_funcs=[DIGITS], finetuning_type="full", learning_rate=5e-3,
        ppo_epochs=2, per_device_train_batch_size=16, gradient_accumulation_steps=2, dataset="many",
    )  # fmt: skip
    rewards = column(events, "reward")
    assert sum(rewards[-6:]) / 6 > sum(rewards[:6]) / 6 + 0.25
    first = events[0]
    assert first["kl"] == pytest.approx(0, abs=1e-5)
    assert first["kl_coefficient"] == pytest.approx(0.2)
    assert first["clip_ratio"] == first["value_clip_ratio"] == 0
    assert first["policy_loss"] == pytest.approx(0, abs=1e-5)  # white advantages, ratios of 1
    assert first["loss"] == pytest.approx(first["policy_loss"] + 0.1 * first["value_loss"], abs=1e-5)
    assert first["completion_length"] == pytest.approx(6, abs=0.5)
    assert max(column(events, "logprob_gap")) < 1e-4
    assert max(column(events, "kl")) > 0.01
    assert column(events, "kl_coefficient")[2] < 0.19999  # a KL below its target is allowed to grow
    head = load_file(tmp_path / "run/value_head.safetensors")
    assert set(head) == {"v_head.summary.weight", "v_head.summary.bias"}


def test_answers_are_learned_from_as_often_as_is_said(run: Run, tiny_model: Callable[[str], Path]) -> None:
    events = run(
        tiny_model("llama"), max_steps=4, reward_funcs=["length:9"], ppo_buffer_size=2, ppo_epochs=2,
        per_device_train_batch_size=1, ppo_score_norm=True, ppo_whiten_rewards=True,
    )  # fmt: skip
    rewards = column(events, "reward")
    assert rewards[:2] == rewards[2:4]
    assert column(events, "clip_ratio")[0] == 0
    assert max(column(events, "kl")) == pytest.approx(0, abs=1e-5)  # all four learn from what the first policy wrote


def test_scores_are_normal_and_rewards_white_where_that_is_asked(run: Run, tiny_model: Callable[[str], Path]) -> None:
    losses = {}
    for name, settings in (
        ("plain", {}), ("normal", {"ppo_score_norm": True}), ("white", {"ppo_whiten_rewards": True}),
    ):  # fmt: skip
        events = run(tiny_model("llama"), name, max_steps=1, reward_funcs=["length:9"], **settings)
        losses[name] = events[0]["value_loss"]
    assert len({round(loss, 6) for loss in losses.values()}) == 3


def test_a_resumed_run_ends_with_the_same_bits(run: Run, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    values = {
        "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 1, "ppo_epochs": 2, "lora_dropout":
        0.1, "ppo_score_norm": True, "reward_funcs": ["length:9"], "ppo_target": 0.001,
    }  # fmt: skip
    whole = run(tiny_model("llama"), "whole", max_steps=4, **values)
    checkpoint = tmp_path / "whole/checkpoint-2"
    again = run(tiny_model("llama"), "again", max_steps=4, resume_from_checkpoint=str(checkpoint), **values)
    for name in ("loss", "reward", "kl", "kl_coefficient", "value_loss", "grad_norm"):
        assert column(whole, name) == column(again, name)
    for name in ("adapter_model", "value_head"):
        first, second = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("whole", "again"))
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert (tmp_path / "whole/ppo.json").read_text() == (tmp_path / "again/ppo.json").read_text()


def test_a_run_that_goes_on_from_an_adapter_takes_its_value_head(
    run: Run, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    run(tiny_model("llama"), "first", max_steps=1, reward_funcs=[DIGITS])
    run(
        tiny_model("llama"), "second", max_steps=1, reward_funcs=[DIGITS], learning_rate=1e-12,
        adapter_name_or_path=str(tmp_path / "first"),
    )  # fmt: skip
    first, second = (load_file(tmp_path / folder / "value_head.safetensors") for folder in ("first", "second"))
    assert all(torch.allclose(first[key], second[key], atol=1e-6) for key in first)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_reward_model_judges(
    run: Run, judge: Callable[[str], Path], tiny_model: Callable[[str], Path], kind: str
) -> None:
    events = run(
        tiny_model("llama"), max_steps=1, reward_model=str(judge(kind)), reward_model_type=kind, finetuning_type=kind,
        eval_dataset="rows", eval_strategy="steps", eval_steps=1,
    )  # fmt: skip
    assert events[0]["reward"] == pytest.approx(events[0]["rewards/reward_model"])
    assert events[0]["reward"] != 0
    evaluated = next(event for event in events if "eval_loss" in event)
    assert "eval_reward" in evaluated and "eval_value_loss" in evaluated


def test_a_service_judges(run: Run, tiny_model: Callable[[str], Path], service: Callable[[Any], str]) -> None:
    url = service(lambda texts: {"scores": [float("fox" in text) for text in texts]})
    events = run(tiny_model("llama"), max_steps=1, reward_model=url, reward_model_type="api")
    assert events[0]["reward"] == pytest.approx(0.25)


@pytest.mark.parametrize("answer", [{"scores": [1.0]}, {"scores": "none"}, {}])
def test_a_service_that_answers_something_else_is_a_fault(
    run: Run, tiny_model: Callable[[str], Path], service: Callable[[Any], str], answer: Any
) -> None:
    url = service(lambda _: answer)
    with pytest.raises(MachineError, match="REWARD-API"):
        run(tiny_model("llama"), max_steps=1, reward_model=url, reward_model_type="api")


def test_a_service_that_is_away_is_a_fault(run: Run, tiny_model: Callable[[str], Path]) -> None:
    with pytest.raises(MachineError, match="REWARD-API"):
        run(tiny_model("llama"), max_steps=1, reward_model="http://127.0.0.1:9/", reward_model_type="api")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"reward_funcs": None}, "reward_model"),
        ({"reward_model": "x", "finetuning_type": "full"}, "reward_model_type"),
        ({"load_best_model_at_end": True}, "load_best_model_at_end"),
        ({"do_train": False, "do_eval": True, "eval_dataset": "rows"}, "do_train"),
        ({"pissa_init": True}, "pissa_init"),
        ({"packing": True}, "packing"),
        ({"do_sample": False}, "do_sample"),
    ],
)
def test_what_does_not_go_together_is_refused(
    run: Run, tiny_model: Callable[[str], Path], change: dict[str, Any], named: str
) -> None:
    with pytest.raises(RecipeError, match=named):
        run(tiny_model("llama"), max_steps=1, **{"reward_funcs": [DIGITS], **change})


@pytest.mark.slow
@pytest.mark.model
def test_the_small_real_model_learns_to_answer_with_a_digit(run: Run, small_model: Path) -> None:
    # A reward of 4 outweighs what it costs to leave the reference (0.2 a nat).
    events = run(
        small_model, max_steps=20, per_device_train_batch_size=16, dataset="legs", learning_rate=1e-3,
        max_new_tokens=12, template=None, lora_rank=16, reward_funcs=[DIGITS], reward_weights=[4.0], ppo_epochs=2,
    )  # fmt: skip
    rewards = column(events, "rewards/regex")
    print("rewards:", [round(value, 3) for value in rewards])
    assert sum(rewards[-6:]) / 6 > sum(rewards[:4]) / 4 + 0.25
