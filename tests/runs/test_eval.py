"""`hone eval`: scores are those of a plain loop, files and table, taking up, comparing, tasks of the user's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.dialogue.message import Conversation
from hone.engines.letters import choose_tokens, shared_length
from hone.engines.likelihood import score_options
from hone.errors import DataError, RecipeError
from hone.evals.certainty import interval, mcnemar, paired
from hone.evals.choice import conversation, drawn
from hone.evals.tables import read_subjects
from hone.recipe import settle
from hone.runs.eval import compare, evaluate, run
from hone.runs.session import open_session

SUBJECTS = ("abstract_algebra", "sociology", "virology")


def table(count: int, shift: int) -> str:
    row = '"Which is it, {n}{more}?",a{n},b {n},"c, {n}",d{n},{answer}\n'
    return "".join(row.format(n=n, more=", or not" * (n % 3), answer="ABCD"[(n + shift) % 4]) for n in range(count))


@pytest.fixture
def recipe(tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe that asks the tiny model `mmlu_test`, in the published layout."""
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for place, subject in enumerate(SUBJECTS):
        for split, count in (("dev", 2), ("test", 5)):
            file = tmp_path / "evaluation/mmlu" / split / f"{subject}_{split}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(table(count, place), encoding="utf-8")
    return {
        "model_name_or_path": str(tiny_model("llama")), "template": "fewshot", "task": "mmlu_test", "n_shot": 1,
        "task_dir": str(tmp_path / "evaluation"), "save_dir": str(tmp_path / "saved"), "batch_size": 2,
    }  # fmt: skip


def plainly(recipe: dict[str, Any], folder: Path) -> dict[str, dict[str, str]]:
    """One question after the other, each read whole."""
    import torch

    settled = settle(recipe, verb="eval")
    session = open_session(settled)
    tokenizer, model = session.encoder.tokenizer, session.engine.model
    found: dict[str, dict[str, str]] = {}
    for subject in read_subjects(folder, "test"):
        for number, question in enumerate(subject.questions):
            shots = drawn(subject.examples, 1, seed=42)
            whole = conversation(question, shots, subject=subject.name, language="en")
            ids = session.encoder.prompt(Conversation(whole.messages[:-1]))
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            odds = {letter: float(logits[tokenizer.encode(letter, add_special_tokens=False)[-1]]) for letter in "ABCD"}
            found.setdefault(subject.key, {})[str(number)] = max(odds, key=odds.get)
    return found


def test_answers_are_those_of_a_plain_loop_and_files_have_their_shapes(recipe, tmp_path, capsys) -> None:
    scores = evaluate(settle(recipe, verb="eval"))
    results = json.loads((tmp_path / "saved/results.json").read_text())
    assert results == plainly(recipe, tmp_path / "evaluation/mmlu")
    log = (tmp_path / "saved/results.log").read_text().splitlines()
    assert [line.split(":")[0] for line in log] == [f"{n:>15}" for n in ("Average", "STEM", "Social Sciences", "Other")]
    assert log[0] == f"        Average: {scores['Average']:.2f}"
    assert "95 % interval" in capsys.readouterr().out
    with pytest.raises(RecipeError, match="save_dir exists"):
        evaluate(settle(recipe, verb="eval"))


def test_a_killed_evaluation_goes_on(recipe, tmp_path, monkeypatch, capsys) -> None:
    from hone.runs import unfinished

    evaluate(settle(recipe | {"save_dir": str(tmp_path / "whole")}, verb="eval"))
    add, rows = unfinished.Unfinished.add, []

    def die_after_seven(self, row, content):
        add(self, row, content)
        rows.append(row)
        if len(rows) == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(unfinished.Unfinished, "add", die_after_seven)
        with pytest.raises(KeyboardInterrupt):
            evaluate(settle(recipe, verb="eval"))
    evaluate(settle(recipe, verb="eval"))
    assert "7 of 15 questions were answered before" in capsys.readouterr().err
    for name in ("results.json", "answers.jsonl", "results.log"):
        assert (tmp_path / "saved" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert "difference +0.00 points" in compare(tmp_path / "saved", tmp_path / "whole")
    (tmp_path / "whole/answers.jsonl").write_text("")
    with pytest.raises(DataError, match="not the same questions"):
        run(["--compare", str(tmp_path / "saved"), str(tmp_path / "whole")])


@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen3"])
def test_the_common_beginning_is_read_once_and_changes_no_choice(family, tiny_model, tmp_path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model(family)).eval()
    prompts = [[5] * 70 + [n + 7] * (1 + n % 4) for n in range(9)]
    assert shared_length(prompts) == 70
    found: list[dict[int, int]] = [{}, {}]
    for share in (True, False):
        choose_tokens(model, prompts, [[9, 40, 77, 300]] * 9, rows=4, done=found[share].__setitem__, share=share)
    assert found[0] == found[1] and len(found[0]) == 9


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_options_are_as_likely_as_in_a_plain_loop(family, tiny_model) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model(family)).eval()
    prompts = [[5] * 40 + [n + 7] * (1 + n % 3) for n in range(5)]
    options = [[[20 + n + k] * (1 + (n + k) % 4) for k in range(2 + n)] for n in range(5)]
    found: dict[int, list[float]] = {}
    score_options(model, prompts, options, rows=4, done=found.__setitem__)
    for number, (prompt, offered) in enumerate(zip(prompts, options, strict=True)):
        for ids, value in zip(offered, found[number], strict=True):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
            wanted = logits.log_softmax(-1)[range(len(ids)), ids].sum()
            assert value == pytest.approx(float(wanted), abs=1e-3)


@pytest.mark.parametrize("normalize", ["characters", "none"])
def test_a_task_of_options_is_answered_by_their_likelihood(recipe, tmp_path, normalize) -> None:
    import torch

    rows = [
        {"ctx": f"{n} is", "endings": ["it", f"that of {n}", "no", "all", "five of it"], "label": n} for n in range(5)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "swag.toml").write_text(f"kind = 'likelihood'\ntest = 'rows.jsonl'\nnormalize = '{normalize}'\n")
    settled = settle(recipe | {"task": str(tmp_path / "swag.toml")}, verb="eval")
    evaluate(settled)
    kept = [json.loads(line) for line in (tmp_path / "saved/answers.jsonl").read_text().splitlines()]
    assert [row["wanted"] for row in kept] == list("ABCDE")
    session = open_session(settle(recipe, verb="eval"))
    tokenizer, model = session.encoder.tokenizer, session.engine.model
    for row, asked in zip(kept, rows, strict=True):
        odds = {}
        start = tokenizer.encode(asked["ctx"], add_special_tokens=False)
        for letter, text in zip("ABCDE", asked["endings"], strict=True):
            ids = tokenizer.encode(f" {text}", add_special_tokens=False)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([start + ids])).logits[0, len(start) - 1 : -1]
            value = float(logits.log_softmax(-1)[range(len(ids)), ids].sum())
            odds[letter] = value / (len(text) if normalize == "characters" else 1)
        assert row["said"] == max(odds, key=odds.get)


def test_an_unfinished_evaluation_of_another_recipe_is_left_alone(recipe, tmp_path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/answers.partial.jsonl").write_text('{"mark": "other"}\n{"row": 0, "said": "A"}\n')
    with pytest.raises(RecipeError, match="another recipe"):
        evaluate(settle(recipe, verb="eval"))
    assert "other" in (tmp_path / "saved/answers.partial.jsonl").read_text()


def test_tasks_of_the_users_own(recipe, tmp_path) -> None:
    rows = [{"q": f"{n}?", "a": f"so\n#### 1,00{n}"} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pattern = "pattern = '#### ([0-9,]+)'"
    text = f"kind = 'answer'\ntest = 'rows.jsonl'\nquestion = 'q'\nanswer = 'a'\nmax_new_tokens = 4\n{pattern}\n"
    (tmp_path / "sums.toml").write_text(text)
    evaluate(settle(recipe | {"task": str(tmp_path / "sums.toml")}, verb="eval"))
    kept = [json.loads(line) for line in (tmp_path / "saved/answers.jsonl").read_text().splitlines()]
    assert [row["wanted"] for row in kept] == ["1000", "1001", "1002"]
    choices = [{"question": "?", "choices": ["a", "b"], "answer": 1}, {"question": "?", "choices": ["a"], "answer": 3}]
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, choices)))
    (tmp_path / "two.toml").write_text("kind = 'choice'\ntest = 'two.jsonl'\nsubject = 'letters'\n")
    assert evaluate(settle(recipe | {"task": str(tmp_path / "two.toml"), "save_dir": None}, verb="eval"))["Other"] >= 0


@pytest.mark.parametrize("task", ["nowhere_test", "mmlu_later", "mmlu", None, "none.toml"])
def test_a_task_that_is_not_there_is_said_before_the_model_is_loaded(recipe, task) -> None:
    with pytest.raises((RecipeError, DataError)):
        evaluate(settle(recipe | {"task": task, "model_name_or_path": "nowhere/at-all"}, verb="eval"))


def test_the_layouts_of_ceval_and_cmmlu(tmp_path) -> None:
    for name, head in (
        ("val/law_val.csv", "id,question,A,B,C,D,answer"),
        ("dev/law_dev.csv", "id,question,A,B,C,D,answer"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{head}\n0,Q?,a,b,c,d,C\n")
    (tmp_path / "subject_mapping.json").write_text(json.dumps({"law": ["Law", "法学", "Humanities"]}))
    (subject,) = read_subjects(tmp_path, "validation")
    assert (subject.name, subject.group, len(subject.examples)) == ("法学", "Humanities", 1)


def test_subjects_of_cmmlu_are_known_without_a_mapping(tmp_path) -> None:
    for split in ("dev", "test"):
        for subject in ("virology", "elementary_chinese", "agronomy"):
            file = tmp_path / "cmmlu" / split / f"{subject}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(",Question,A,B,C,D,Answer\n0,Q?,a,b,c,d,C\n")
    found = {one.key: (one.name, one.group, len(one.examples)) for one in read_subjects(tmp_path / "cmmlu", "test")}
    assert found["virology"] == ("病毒学", "STEM", 1)
    assert found["elementary_chinese"] == ("小学语文", "Social Sciences", 1)
    assert found["agronomy"] == ("农学", "Other", 1)


def test_certainty() -> None:
    assert interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert interval(0, 10)[0] == 0 and interval(0, 0) == (0, 1)
    assert mcnemar(1, 9) == pytest.approx(0.021484375) and mcnemar(0, 0) == 1 and mcnemar(3, 3) == 1
    assert paired([True, False, True], [True, True, True]).difference == pytest.approx(1 / 3)
