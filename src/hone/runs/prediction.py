"""The files of a prediction: answers, numbers and the page; and scores, as training and prediction share them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hone.dialogue.parse import parse
from hone.dialogue.template import Template
from hone.errors import DataError
from hone.evals.answered import Answered, Measured, ReadCalls, means
from hone.evals.measures import Measure
from hone.evals.page import page
from hone.evals.similarity import MEASURES, similarity
from hone.log import result, say
from hone.rundir import write_json, write_text

ANSWERS = "generated_predictions.jsonl"
PAGE = "predictions.html"
WRITTEN = ("prompt", "predict", "label")


def answered(
    tokenizer: Any, prompt: Sequence[int], said: Sequence[int], wanted: Sequence[int], *, skip: bool
) -> Answered:
    """The texts of an answer; `skip` leaves special tokens out of it, as the recipe says."""

    def text(ids: Sequence[int], *, skip: bool) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False))

    return Answered(
        text(prompt, skip=False), text(said, skip=skip), text(wanted, skip=True),
        text(said, skip=False), text(wanted, skip=False),
    )  # fmt: skip


def call_reader(template: Template) -> ReadCalls:
    """Reads tool calls as the model's family writes them."""

    def read(text: str) -> list[tuple[str, Any]]:
        return [(call.name, call.arguments) for call in parse(template, text).calls]

    return read


def measured(answers: Sequence[Answered], measures: Sequence[Measure], calls: ReadCalls) -> Measured:
    """BLEU-4 and ROUGE of every answer, and what else was asked for."""
    found = [similarity(one.predict, one.label) for one in answers]
    each: dict[str, Sequence[float | None]] = {name: [one[name] for one in found] for name in MEASURES}
    together: dict[str, float] = {}
    notes = []
    for measure in measures:
        more = measure(answers, calls)
        each |= more.each
        together |= more.together
        notes += [more.note] if more.note else []
    return Measured(each, means(each) | together, "\n".join(notes))


def write_predictions(
    folder: Path, name: str, answers: Sequence[Answered], scores: Measured, *, beside: Path | None
) -> None:
    """`generated_predictions.jsonl` and `predictions.html`; of one set among several, with its name in theirs."""
    lines = [json.dumps({key: getattr(one, key) for key in WRITTEN}, ensure_ascii=False) for one in answers]
    file = folder / named(ANSWERS, name)
    write_text(file, "".join(f"{line}\n" for line in lines))
    other = None if beside is None else _beside(beside / named(ANSWERS, name), answers)
    title = f"Predictions of {name}" if name else "Predictions"
    whole = page(answers, scores.each, scores.together, title=title, note=scores.note, beside=other)
    write_text(folder / named(PAGE, name), whole)
    if scores.note:
        say(scores.note)
    say(f"{len(answers):,} answers in {file}")


def named(file: str, name: str) -> str:
    """The file's name for a set of several."""
    stem, _, ending = file.rpartition(".")
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return f"{stem}_{safe}.{ending}" if name else file


def write_results(folder: Path, metrics: dict[str, float]) -> None:
    """`predict_results.json`, `all_results.json` with what is there already, and the block on the console."""
    write_json(folder / "predict_results.json", dict(sorted(metrics.items())))
    whole = folder / "all_results.json"
    try:
        before = dict(json.loads(whole.read_text("utf-8"))) if whole.is_file() else {}
    except (ValueError, TypeError):
        before = {}
    write_json(whole, dict(sorted({**before, **metrics}.items())))
    width = max(map(len, metrics))
    values = {name: f"{value:.4f}" for name, value in sorted(metrics.items())}
    block = [f"  {name:<{width}} = {value:>12}" for name, value in values.items()]
    result("\n".join(["***** predict metrics *****", *block]))


def _beside(file: Path, answers: Sequence[Answered]) -> list[str | None]:
    """What another run answered to the same rows. DataError when it answered others, or there is no such file."""
    fix = "name the output_dir of a finished prediction of the same data"
    try:
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        labels = [(row["label"], row["predict"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise DataError.one("PREDICT-BESIDE", f"cannot be read ({reason})", str(file), fix) from None
    if [label for label, _ in labels] != [one.label for one in answers]:
        raise DataError.one("PREDICT-BESIDE", "the answers are to other rows", str(file), fix)
    return [str(predict) for _, predict in labels]
