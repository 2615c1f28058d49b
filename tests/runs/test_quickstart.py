"""The quickstart's parts that need no model: its words, its lesson, its data, its next commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hone.errors import RecipeError
from hone.recipe import read_recipe
from hone.runs.demo import IDENTITY, demo_rows, write_lesson
from hone.runs.quickstart import FRESH, next_commands, read_words


def test_words_are_flags_or_pairs() -> None:
    assert vars(read_words(["--name", "Ada", "output_dir=there"])) == {
        "name": "Ada",
        "author": "the Hone team",
        "output_dir": "there",
    }
    with pytest.raises(RecipeError, match="--nmae"):
        read_words(["--nmae", "Ada"])


def test_the_fresh_questions_are_not_in_the_training_data() -> None:
    def bare(text: str) -> str:
        return re.sub(r"\W+", " ", text).strip().casefold()

    asked = {bare(row["instruction"] + " " + row.get("input", "")) for row in demo_rows(IDENTITY)}
    assert len(set(FRESH)) == 5
    assert not asked & {bare(question) for question in FRESH}


def test_the_lesson_is_a_recipe_that_holds_and_data_with_the_name_filled_in(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    lesson = write_lesson(folder, tmp_path / "model", name='Ada "the" Bot', author="Grace")
    recipe = read_recipe([str(lesson.recipe)], verb="train")
    assert (recipe.training.output_dir, recipe.data.dataset_dir) == (str(folder / "lora"), str(folder / "data"))
    text = (folder / "data" / "identity.json").read_text("utf-8")
    assert "{{" not in text
    rows = json.loads(text)
    assert any('Ada "the" Bot' in row["output"] for row in rows)
    assert any("Grace" in row["output"] for row in rows)


def test_the_next_commands_can_be_pasted(tmp_path: Path) -> None:
    lesson = write_lesson(tmp_path / "my run", tmp_path / "model", name="Ada", author="Grace")
    chat, train, webui = next_commands(lesson, tmp_path / "model")
    assert f"--adapter_name_or_path '{tmp_path}/my run/lora'" in chat
    assert f"train '{tmp_path}/my run/train.yaml'" in train
    assert "not built yet" in webui
