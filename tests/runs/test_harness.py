"""`task: lm_eval:NAME`: the harness's questions through Hone's engine; one set gives one score, asked either way.

The harness is an extra: `pip install 'hone-llm[harness]'`. Without it only what Hone says then is tested.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.cli.main import main
from hone.errors import RecipeError
from hone.recipe import settle
from hone.runs.eval import compare, evaluate

HERE = importlib.util.find_spec("lm_eval") is not None
needed = pytest.mark.skipif(not HERE, reason="lm-evaluation-harness is not installed: pip install 'hone-llm[harness]'")

CHOICE = """task: capitals
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{ctx}}}}"
doc_to_target: label
doc_to_choice: "{{{{endings}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""
WRITTEN = """task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{ctx}}}} is"
doc_to_target: "{{{{endings[0]}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 6}}
metric_list:
  - metric: exact_match
"""
ROLLING = """task: likely
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{ctx}}}}"
metric_list:
  - metric: word_perplexity
"""


@pytest.fixture
def recipe(tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe and, beside it, ten questions as rows, as Hone's task and as the harness's tasks."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    endings = ["it", "that of them", "no", "all the others", "five"]
    rows = [{"ctx": f"The number {n} of {n * n}", "endings": endings[: 2 + n % 4], "label": n % 2} for n in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "own.toml").write_text("kind = 'likelihood'\ntest = 'rows.jsonl'\nnormalize = 'none'\n")
    for name, text in (("capitals", CHOICE), ("sums", WRITTEN), ("likely", ROLLING)):
        (tmp_path / "tasks").mkdir(exist_ok=True)
        (tmp_path / f"tasks/{name}.yaml").write_text(text.format(rows=tmp_path / "rows.jsonl"))
    return {
        "model_name_or_path": str(tiny_model("llama")), "template": "fewshot", "task_dir": str(tmp_path / "tasks"),
        "n_shot": 0, "batch_size": 3,
    }  # fmt: skip


def asked(recipe: dict[str, Any], **more: Any) -> dict[str, float]:
    return evaluate(settle(recipe | more, verb="eval"))


@needed
def test_on_one_set_both_give_the_same_score_and_the_same_answers(recipe, tmp_path, capsys) -> None:
    own = asked(recipe, task=str(tmp_path / "own.toml"), save_dir=str(tmp_path / "own"))
    theirs = asked(recipe, task="lm_eval:capitals", save_dir=str(tmp_path / "theirs"))
    assert theirs == {"Average": own["Average"], "capitals": own["Average"]}
    said = json.loads((tmp_path / "own/results.json").read_text())["own"]
    found = json.loads((tmp_path / "theirs/results.json").read_text())["capitals"]
    assert {number: "ABCDE"[int(place)] for number, place in found.items()} == said
    harness = json.loads((tmp_path / "theirs/harness.json").read_text())
    assert 100 * harness["results"]["capitals"]["acc,none"] == pytest.approx(own["Average"])
    log = (tmp_path / "theirs/results.log").read_text()
    assert log.startswith(f"        Average: {own['Average']:.2f}\n") and "acc_norm" in log
    assert "95 % interval" in capsys.readouterr().out
    assert "difference +0.00 points" in compare(tmp_path / "theirs", tmp_path / "theirs")


@needed
def test_the_harness_gets_what_its_own_model_class_would_give_it(recipe, tmp_path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=recipe["task_dir"], include_defaults=False)
    model = HFLM(pretrained=recipe["model_name_or_path"], device="cpu", dtype="float32", batch_size=2)
    for name in ("capitals", "sums", "likely"):
        theirs = simple_evaluate(model, tasks=[name], num_fewshot=0, task_manager=manager, bootstrap_iters=0)
        asked(recipe, task=f"lm_eval:{name}", save_dir=str(tmp_path / name))
        mine = json.loads((tmp_path / name / "harness.json").read_text())["results"][name]
        for key, value in theirs["results"][name].items():
            if isinstance(value, float) and "stderr" not in key:
                assert mine[key] == pytest.approx(value, rel=1e-4), (name, key)
        if name == "sums":
            written = json.loads((tmp_path / name / "results.json").read_text())[name]
            assert list(written.values()) == [one["filtered_resps"][0] for one in theirs["samples"][name]]
            assert any(written.values())


@needed
def test_a_template_writes_the_question_down_and_its_very_ids_are_asked(recipe, tmp_path) -> None:
    chatml = asked(recipe, task="lm_eval:capitals", template="chatml", save_dir=str(tmp_path / "theirs"))
    own = asked(recipe, task=str(tmp_path / "own.toml"), template="chatml")
    assert chatml["Average"] == own["Average"]


@needed
def test_a_killed_evaluation_asks_only_what_is_missing(recipe, tmp_path, monkeypatch, capsys) -> None:
    from hone.runs import unfinished

    asked(recipe, task="lm_eval:capitals", save_dir=str(tmp_path / "whole"))
    add, rows = unfinished.Unfinished.add, []

    def die_after_nine(self, row, content):
        add(self, row, content)
        rows.append(row)
        if len(rows) == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(unfinished.Unfinished, "add", die_after_nine)
        with pytest.raises(KeyboardInterrupt):
            asked(recipe, task="lm_eval:capitals", save_dir=str(tmp_path / "saved"))
    rows.clear()
    monkeypatch.setattr(unfinished.Unfinished, "add", lambda self, row, content: rows.append(row))
    asked(recipe, task="lm_eval:capitals", save_dir=str(tmp_path / "saved"))
    assert len(rows) == sum(2 + n % 4 for n in range(10)) - 9
    for name in ("results.json", "answers.jsonl", "results.log"):
        assert (tmp_path / "saved" / name).read_text() == (tmp_path / "whole" / name).read_text()


@needed
@pytest.mark.parametrize("name", ["nowhere", "broken"])
def test_a_task_that_is_not_there_is_said_before_the_model_is_loaded(recipe, tmp_path, name) -> None:
    (tmp_path / "tasks/broken.yaml").write_text(CHOICE.format(rows="/none.jsonl").replace("capitals", "broken"))
    with pytest.raises(RecipeError, match=name):
        asked(recipe, task=f"lm_eval:{name}", model_name_or_path="nowhere/at-all")


def test_without_the_harness_the_way_to_it_is_said(recipe, monkeypatch, capsys) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "lm_eval" else find(name, *rest)
    )
    words = [f"--{key}={value}" for key, value in recipe.items()]
    assert main(["eval", *words, "--task=lm_eval:capitals"]) == 6
    assert "pip install 'hone-llm[harness]'" in capsys.readouterr().err
