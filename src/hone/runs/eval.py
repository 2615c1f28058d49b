"""`hone eval`: multiple-choice benchmarks and sets with exact answers; scores with their certainty, two compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import DataError, RecipeError
from hone.log import result, say
from hone.recipe import Recipe, read_recipe
from hone.rundir import held, write_json, write_text
from hone.runs.evaluated import ANSWERS, PARTIAL, certainty, model_mark
from hone.runs.harness import PREFIX, hand_over

if TYPE_CHECKING:
    from hone.engines.session import Session
    from hone.evals.tables import Subject
    from hone.evals.tasks import Task


def run(words: Sequence[str]) -> int:
    """The verb: a recipe with `task`, or `--compare A B` with two finished `save_dir`."""
    if "--compare" in words:
        if len(words) != 3 or words[0] != "--compare":
            raise RecipeError.one("CLI-USAGE", "hone eval --compare", "", "name two save_dir of finished evaluations")
        result(compare(Path(words[1]), Path(words[2])))
        return 0
    evaluate(read_recipe(words, verb="eval"))
    return 0


def evaluate(recipe: Recipe) -> dict[str, float]:
    """Ask all questions of the task and report; returns the accuracy of each group, from 0 to 100.

    Answers go into `save_dir` as they come: a run that was killed is taken up by the same recipe. Raises RecipeError
    when `save_dir` holds something else already, DataError for missing questions, and the faults of the model.
    """
    from hone.runs.session import open_session

    wanted = recipe.evaluation
    if not wanted.task:
        raise RecipeError.one("CFG-MISSING", "task", "", "name a benchmark and its split, such as mmlu_test")
    if recipe.engine.infer_backend != "huggingface":
        raise RecipeError.one(
            "CFG-CONFLICT", "questions are asked of the built-in engine", "infer_backend", "leave it out"
        )
    save = Path(wanted.save_dir) if wanted.save_dir else None
    _refuse_taken(save)
    if wanted.task.startswith(PREFIX):
        return hand_over(recipe, save)
    task, subjects = _questions(recipe)
    session = open_session(recipe)
    if save is None:
        return _ask_all(recipe, session, task, subjects, None)
    with held(save):
        return _ask_all(recipe, session, task, subjects, save)


def _refuse_taken(save: Path | None) -> None:
    """A folder must be new, or hold an evaluation that was not finished."""
    if save is not None and save.exists() and any(save.iterdir()) and not (save / PARTIAL).is_file():
        raise RecipeError.one("EVAL-SAVE", "save_dir exists", str(save), "name a new folder")


def _questions(recipe: Recipe) -> tuple[Task | None, list[Subject]]:
    from hone.evals.questions import read_questions
    from hone.evals.tables import Subject, read_subjects
    from hone.evals.tasks import read_task

    wanted = recipe.evaluation
    named = wanted.task or ""
    if not named.endswith(".toml"):
        name, _, split = named.rpartition("_")
        if not name:
            raise RecipeError.one("EVAL-TASK", f"{named} names no split", "task", "write it as mmlu_test")
        subjects = read_subjects(Path(wanted.task_dir) / name, split)
        return None, subjects
    task = read_task(Path(named).expanduser())
    if task.kind == "answer":
        return task, []
    asked = tuple(read_questions(task.test))
    kept = tuple(one for one in asked if one.answer in one.options)
    examples = tuple(read_questions(task.examples)) if task.examples else ()
    worked = tuple(one for one in examples if one.answer in one.options)
    return task, [Subject(task.name, task.subject or task.name, "Other", kept, worked, len(asked) - len(kept))]


def _ask_all(
    recipe: Recipe, session: Session, task: Task | None, subjects: Sequence[Subject], save: Path | None
) -> dict[str, float]:
    """Ask, keep, report."""
    from hone.evals.tables import accuracies, report
    from hone.runs.asking import letters_of, likelihoods_of, written_of
    from hone.runs.gauge import Gauge
    from hone.runs.unfinished import Unfinished, mark_of

    if task is not None and task.kind == "answer":
        works = [written_of(session, task)]
    elif task is not None and task.kind == "likelihood":
        works = [likelihoods_of(recipe, session, task, one) for one in subjects]
    else:
        works = [letters_of(recipe, session, one) for one in subjects]
    count = sum(len(work.wanted) for work in works)
    if not count:
        raise DataError.one("EVAL-TASK", "no question has a right answer", recipe.evaluation.task or "")
    mark = hashlib.sha256(repr([model_mark(recipe), [work.mark for work in works]]).encode()).hexdigest()[:32]
    if save is not None and mark_of(save / PARTIAL) not in (None, mark):
        what, fix = "save_dir holds an unfinished evaluation of another recipe", "name a new folder"
        raise RecipeError.one("EVAL-SAVE", what, str(save), fix)
    record = Unfinished(save / PARTIAL, mark) if save is not None else None
    said: dict[int, str] = {row: str(kept["said"]) for row, kept in (record.rows if record else {}).items()}
    if said:
        say(f"{len(said):,} of {count:,} questions were answered before; going on")
    try:
        with Gauge("asking", count, things="questions", begun=len(said)) as gauge:
            first = 0
            for work in works:
                missing = [number for number in range(len(work.wanted)) if first + number not in said]

                def note(number: int, answer: str, first: int = first) -> None:
                    said[first + number] = answer
                    if record is not None:
                        record.add(first + number, {"said": answer})
                    gauge.add()

                work.ask(missing, note)
                first += len(work.wanted)
    finally:
        if record is not None:
            record.close(done=False)
    rows, first = [], 0
    for work in works:
        for number, wanted in enumerate(work.wanted):
            answer = said[first + number]
            rows.append({"subject": work.key, "number": number, "said": answer, "wanted": wanted})
        first += len(work.wanted)
    right = {work.key: [row["said"] == row["wanted"] for row in rows if row["subject"] == work.key] for work in works}
    parts = accuracies(right, {one.key: one.group for one in subjects})
    table = report(parts)
    result(table)
    result(certainty(parts["Average"]))
    left_out = sum(one.left_out for one in subjects)
    if left_out:
        say(f"{left_out:,} questions have no right answer among their options and were left out")
    if save is not None:
        _save(save, rows, table)
    return {name: 100 * sum(values) / len(values) for name, values in parts.items()}


def _save(save: Path, rows: Sequence[Mapping[str, Any]], table: str) -> None:
    """`results.json` and `results.log` in the shapes that the field has, `answers.jsonl` for comparing."""
    answers: dict[str, dict[str, str]] = {}
    for row in rows:
        answers.setdefault(row["subject"], {})[str(row["number"])] = row["said"]
    write_text(save / ANSWERS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_text(save / "results.log", table + "\n")
    write_json(save / "results.json", answers)
    (save / PARTIAL).unlink(missing_ok=True)
    say(f"results in {save}")


def compare(first: Path, second: Path) -> str:
    """Two finished evaluations of the same questions, as a sentence. DataError where they are not."""
    from hone.evals.certainty import paired

    found = [_finished(folder) for folder in (first, second)]
    if [row[:3] for row in found[0]] != [row[:3] for row in found[1]] or not found[0]:
        fix = "evaluate both models with the same task"
        raise DataError.one("EVAL-COMPARE", "these are not the same questions", f"{first}, {second}", fix)
    test = paired([row[3] for row in found[0]], [row[3] for row in found[1]])
    return (
        f"{test.count:,} questions: only {first} had {test.only_first} right, only {second} {test.only_second}\n"
        f"difference {100 * test.difference:+.2f} points, 95 % interval {100 * test.low:+.2f} to"
        f" {100 * test.high:+.2f}; p = {test.p:.4g} (McNemar, exact)"
    )


def _finished(folder: Path) -> list[tuple[str, int, str, bool]]:
    try:
        rows = [json.loads(line) for line in (folder / ANSWERS).read_text("utf-8").splitlines()]
        return [
            (row["subject"], row["number"], row["wanted"], row.get("right", row["said"] == row["wanted"]))
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as reason:
        fix = "name the save_dir of a finished evaluation"
        raise DataError.one("EVAL-COMPARE", f"cannot be read ({reason})", str(folder / ANSWERS), fix) from None
