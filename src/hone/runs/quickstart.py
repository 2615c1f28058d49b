"""`hone quickstart`: tune a small real model on this machine in minutes, and see what it learned."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hone.errors import RecipeError
from hone.log import result, say
from hone.recipe import settle
from hone.rundir import write_json
from hone.runs.demo import Lesson, write_lesson

if TYPE_CHECKING:
    from hone.runs.comparison import Compared

FRESH = (
    "Under what name are you known?",
    "Mind telling me who you are?",
    "Hey, what's your name again?",
    "Tell me your name, please.",
    "Which assistant am I talking to?",
)
"""Questions that are not in the training data (a test holds them to that)."""

QUESTIONS = ("Who are you?", *FRESH, "What is the capital of France?")


def run(words: Sequence[str]) -> int:
    """Fetch the model, ask, tune, ask again, show. Returns the exit code."""
    wish = read_words(words)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # one card is plenty, and in-process training wants one
    started = time.monotonic()

    from hone.models.embedded import embedded_model
    from hone.runs.comparison import Compared, show
    from hone.runs.train import run as train

    say("1/4  the model: SmolLM2-135M-Instruct")
    model = embedded_model()
    lesson = write_lesson(Path(wish.output_dir), model, name=wish.name, author=wish.author)
    say("2/4  asking it as it is")
    before = _ask(model, None)
    say(f"3/4  teaching it that it is {wish.name} ({lesson.recipe})")
    train([str(lesson.recipe)])
    say("4/4  asking it again")
    after = _ask(model, lesson.adapter)
    rows = [Compared(*row) for row in zip(QUESTIONS, before, after, strict=True)]
    write_json(lesson.recipe.parent / "answers.json", [asdict(row) for row in rows])
    show(rows)
    _report(rows, wish.name, lesson, model, seconds=time.monotonic() - started)
    return 0


class _Words(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RecipeError.one("CLI-WORDS", message, "hone quickstart", "it takes --name, --author and --output_dir")


def read_words(words: Sequence[str]) -> argparse.Namespace:
    """What the user chose, as `--name Ada` or `name=Ada`. Raises RecipeError."""
    parser = _Words(prog="hone quickstart", add_help=False, allow_abbrev=False)
    parser.add_argument("--name", default="Nova")
    parser.add_argument("--author", default="the Hone team")
    parser.add_argument("--output_dir", default="quickstart")
    return parser.parse_args([word if word.startswith("-") or "=" not in word else f"--{word}" for word in words])


def _ask(model: Path, adapter: Path | None) -> list[str]:
    from hone.runs.comparison import ask
    from hone.runs.session import open_session

    adapters = {"adapter_name_or_path": str(adapter)} if adapter else {}
    return ask(open_session(settle({"model_name_or_path": str(model), **adapters}, verb="chat")), QUESTIONS)


def _report(rows: Sequence[Compared], name: str, lesson: Lesson, model: Path, *, seconds: float) -> None:
    """The loss curve, the score, and what to do next."""
    from hone.training.plot import draw_terminal

    result("\n" + draw_terminal(losses(lesson.adapter), title="loss at each step"))
    found = sum(name in row.after for row in rows if row.question in FRESH)
    result(f"\nIt gives its new name in {found} of {len(FRESH)} questions it has never seen, after {seconds:.0f} s.")
    result(f"The curve as a picture: {lesson.adapter / 'training_loss.png'}\n\nNext:")
    for line in next_commands(lesson, model):
        result(f"  {line}")


def losses(adapter: Path) -> list[tuple[float, float]]:
    """(step, loss) of every logged step of the run."""
    lines = (adapter / "trainer_log.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines if line.strip()]
    return [(float(event["current_steps"]), float(event["loss"])) for event in events if "loss" in event]


def next_commands(lesson: Lesson, model: Path) -> list[str]:
    """What to try now, as commands for this shell."""
    hone = _command()
    recipe, adapter, data = (shlex.quote(str(path)) for path in (lesson.recipe, lesson.adapter, lesson.data))
    return [
        f"{hone} chat --model_name_or_path {shlex.quote(str(model))} --adapter_name_or_path {adapter}",
        f"{hone} train {recipe}    # your own data: put it into {data}/identity.json first",
        f"{hone} webui    # the board in the browser: not built yet",
    ]


def _command() -> str:
    """How this very `hone` is called from here."""
    script = Path(sys.executable).with_name("hone")
    on_path = shutil.which("hone")
    if on_path and Path(on_path).resolve() == script.resolve():
        return "hone"
    if not script.is_file():
        return f"{shlex.quote(sys.executable)} -m hone"
    return shlex.quote(os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script))
