"""Scores that a recipe may ask for: what counts as a match, as JSON, as the right calls, and the user's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hone.dialogue.template import load_template
from hone.errors import MachineError, RecipeError
from hone.evals.answered import Answered, means
from hone.evals.measures import load_measure
from hone.runs.prediction import call_reader

CALL = '<tool_call>\n{{"name": "{}", "arguments": {{"n": {}}}}}\n</tool_call>'


def scores(name: str, *pairs: tuple[str, str]) -> list[float | None]:
    answers = [Answered("", said, wanted) for said, wanted in pairs]
    found = load_measure(name)(answers, call_reader(load_template("qwen")))
    return list(found.each[name])


def test_an_exact_match_leaves_out_white_space_around() -> None:
    assert scores("exact_match", ("Meow.", "Meow.\n"), ("meow.", "Meow."), ("", "")) == [100, 0, 100]


@pytest.mark.parametrize(
    ("text", "valid"), [('{"a": [1]}', 1), ("3", 1), ("{a: 1}", 0), ("NaN", 0), ("[" * 100_000, 0)]
)
def test_json_is_what_the_standard_says(text: str, valid: int) -> None:
    assert scores("json_valid", (text, "")) == [100 * valid]


def test_calls_count_by_name_and_arguments_and_text_has_no_such_score() -> None:
    one, other = CALL.format("look", 1), CALL.format("look", 2)
    assert scores("tool_calls", (one, one), (other, one), ("no", one), (one, "no"), ("a", "b")) == [100, 0, 0, 0, None]


def test_means_leave_out_answers_without_a_score() -> None:
    assert means({"a": [1.0, None, 2.0], "b": [None]}) == {"a": 1.5}


@pytest.mark.parametrize(
    "body", ["return [1]", "return [float('nan')] * 2", "raise ValueError", "return ['x', 'y']", "return None"]
)
def test_a_function_that_gives_something_else_is_named(body: str, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(f"def score(prompts, completions, answers):\n    {body}\n")
    measure = load_measure(f"{file}:score")
    with pytest.raises(RecipeError, match=r"own\.py:score"):
        measure([Answered("", "a", "b")] * 2, lambda _: [])


def test_a_module_by_name_is_not_loaded_only_a_file_by_its_path() -> None:
    with pytest.raises(RecipeError, match="no measure"):
        load_measure("os:getcwd")


def test_a_missing_package_is_said_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(MachineError, match=r"pip install 'hone-llm\[metrics\]'"):
        load_measure("bleu")
