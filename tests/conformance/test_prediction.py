"""The recorded prediction of six rows: prompts and labels, the keys of its results, and the scores of its answers.

The answers themselves are those of an adapter that was not recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import CORPUS, needs_corpus

from hone.evals.answered import Answered
from hone.recipe import settle
from hone.runs.predict import predict
from hone.runs.prediction import measured

pytestmark = needs_corpus


@pytest.fixture
def recorded() -> tuple[list[dict[str, str]], dict[str, float], set[str]]:
    """The rows, the scores and the keys of `predict_results.json`."""
    text = (CORPUS / "trainer_outputs.md").read_text("utf-8").partition("## Predict")[2].partition("\n## ")[0]
    rows = [json.loads(line) for line in text.splitlines() if line.startswith('{"prompt"')]
    scores: dict[str, float] = json.loads(re.search(r"Scores: (\{.*\})", text)[1])
    keys = set(re.search(r"predict_results.json keys: (.*)", text)[1].split(", "))
    assert len(rows) == 6
    return rows, scores, keys


def test_the_recorded_answers_have_the_recorded_scores(recorded) -> None:
    rows, scores, _ = recorded
    answers = [Answered(row["prompt"], row["predict"], row["label"]) for row in rows]
    found = measured(answers, (), lambda text: []).together
    assert {f"predict_{name}": value for name, value in found.items()} == pytest.approx(scores, abs=1e-9)


def test_prompts_labels_and_keys_are_the_recorded_ones(
    recorded: Any, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    rows, _, keys = recorded
    recipe = {
        "model_name_or_path": str(tiny_model("llama")), "template": "chatml", "dataset_dir": str(CORPUS / "data"),
        "eval_dataset": "conf_sft", "max_samples": 6, "do_sample": False, "max_new_tokens": 2,
        "output_dir": str(tmp_path / "run"),
    }  # fmt: skip
    metrics = predict(settle(recipe, verb="predict"))
    assert keys <= set(metrics)
    lines = (tmp_path / "run/generated_predictions.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    for mine, wanted in zip(found, rows, strict=True):
        assert (list(mine), mine["prompt"], mine["label"]) == (list(wanted), wanted["prompt"], wanted["label"])
