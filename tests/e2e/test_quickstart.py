"""`hone quickstart`, as a newcomer types it: one run on the real small model, looked at from several sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hone.runs.quickstart import FRESH

pytestmark = pytest.mark.model
NAME = "Bertram"


@dataclass(frozen=True)
class Done:
    """A finished quickstart."""

    folder: Path
    output: str
    errors: str

    def after(self, question: str) -> str:
        rows = json.loads((self.folder / "answers.json").read_text("utf-8"))
        return next(row["after"] for row in rows if row["question"] == question)


@pytest.fixture(scope="module")
def done(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("quickstart") / "out"
    words = ["quickstart", "--name", NAME, "--author", "Ada Grace", "--output_dir", str(folder)]
    ran = subprocess.run(
        [sys.executable, "-m", "hone", *words],
        capture_output=True,
        text=True,
        timeout=540,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    return Done(folder, ran.stdout, ran.stderr)


def test_the_new_name_is_given_to_at_least_four_of_five_fresh_questions(done: Done) -> None:
    answers = [done.after(question) for question in FRESH]
    assert sum(NAME in answer for answer in answers) >= 4, answers


def test_what_the_model_knew_it_still_knows(done: Done) -> None:
    assert "Paris" in done.after("What is the capital of France?")


def test_answers_curve_and_next_commands_are_shown(done: Done) -> None:
    for shown in ("Who are you?", "before:", "after:", "loss at each step", "┤", "Next:", "chat --model_name_or_path"):
        assert shown in done.output
    assert "Traceback" not in done.errors


def test_the_folder_holds_the_recipe_the_adapter_its_card_and_the_picture(done: Done) -> None:
    for file in ("train.yaml", "data/identity.json", "lora/adapter_model.safetensors", "lora/hone.json"):
        assert (done.folder / file).is_file()
    assert (done.folder / "lora/training_loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_adapter_can_be_talked_to_with_the_command_it_prints(done: Done) -> None:
    import shlex

    line = next(line for line in done.output.splitlines() if " chat --model_name_or_path" in line)
    words = [*shlex.split(line.strip()), "--do_sample", "false", "--max_new_tokens", "32"]
    talk = subprocess.run(words, input="Who are you?\n", capture_output=True, text=True, timeout=120)
    assert talk.returncode == 0, talk.stderr
    assert NAME in talk.stdout
