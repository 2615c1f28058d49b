"""Rewards: the built-in ones, functions of the user's own, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hone.errors import RecipeError
from hone.training.rewards import load_reward


def judged(name: str, *said: str, right: str = "") -> list[float]:
    return load_reward(name)(["q"] * len(said), list(said), [right] * len(said))


def test_exact_match_overlooks_white_space_around() -> None:
    assert judged("exact_match", " 42\n", "42.", right="42") == [1.0, 0.0]


def test_a_pattern_is_searched_for_and_may_hold_colons_and_commas() -> None:
    assert judged(r"regex:\d", "a 7", "seven") == [1.0, 0.0]
    assert judged(r"regex:^a:.{1,2}$", "a:bc", "a:bcd") == [1.0, 0.0]


def test_json_counts_alone_or_fenced() -> None:
    assert judged("json_valid", '{"a": 1}', "```json\n[1]\n```", "Here: {}", "[" * 100_000) == [1.0, 1.0, 0.0, 0.0]


def test_length_falls_evenly_on_both_sides() -> None:
    assert judged("length:4", "", "ab", "abcd", "abcdef", "a" * 99) == [0.0, 0.5, 1.0, 0.5, 0.0]


def test_functions_of_a_file_and_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "def same(prompts, completions, answers):\n"
        "    return [p + a == c for p, c, a in zip(prompts, completions, answers)]\n"
    )
    (tmp_path / "my_rewards.py").write_text(code)
    assert judged(f"{tmp_path / 'my_rewards.py'}:same", "qx", "x", right="x") == [1.0, 0.0]
    monkeypatch.syspath_prepend(tmp_path)
    assert judged("my_rewards:same", "qx", "x", right="x") == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exactmatch", "no reward 'exactmatch'"),
        ("nowhere.py:f", "cannot be loaded"),
        ("json:nothing_there", "cannot be loaded"),
        ("regex:(", "is wrong"),
        ("regex", "needs a pattern"),
        ("length:long", "number of letters"),
    ],
)
def test_what_is_no_reward_is_a_fault_of_the_recipe(name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_reward(name)


@pytest.mark.parametrize(
    ("body", "said"),
    [("return [1.0]", "1 numbers for 2 answers"), ("return [float('nan')] * 2", "not finite"), ("1 / 0", "failed")],
)
def test_a_function_that_does_something_else_is_named(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "wrong.py").write_text(f"def judge(**_):\n    {body}\n")
    with pytest.raises(RecipeError, match=said):
        judged(f"{tmp_path / 'wrong.py'}:judge", "a", "b")
