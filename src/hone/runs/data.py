"""`hone data check` and `hone data preview`: what a recipe makes of its rows, before anything is trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hone.errors import DataError, RecipeError
from hone.log import colourful, result, say
from hone.recipe import read_recipe
from hone.rundir import cache_root, write_text

USAGE = """usage: hone data check RECIPE [--json] [--questions FILES]
       hone data preview RECIPE [--row N] [--html FILE]"""


def run(words: Sequence[str]) -> int:
    """The verb."""
    verbs = {"check": check, "preview": preview}
    if not words or words[0] not in verbs:
        raise RecipeError.one("CLI-VERB", f"hone data {words[0] if words else ''}".strip(), "", USAGE)
    return verbs[words[0]](list(words[1:]))


def check(words: list[str]) -> int:
    """Counts, lengths, duplicates, warnings and advice on stdout; 3 where the data would stop a training, else 0."""
    in_json = "--json" in words
    rest, asked = _taken([word for word in words if word != "--json"], "--questions")
    recipe = read_recipe(rest, verb="train")
    from hone.data.health.check import check as look
    from hone.evals.questions import read_questions
    from hone.runs.encoding import encoding_of

    encoding = encoding_of(recipe)
    stage, encoder, seed = encoding.stage, encoding.encoder, recipe.training.seed
    questions = [question for path in (asked or "").split(",") if path for question in read_questions(Path(path))]
    try:
        health = look(recipe.data, stage, encoder, seed=seed, cache_dir=cache_root() / "data", questions=questions)
    except DataError as error:
        if in_json:
            result(json.dumps({"fine": False, "faults": [asdict(fault) for fault in error.faults]}, ensure_ascii=False))
        raise
    result(json.dumps(health.as_dict(), ensure_ascii=False, indent=2) if in_json else str(health))
    for fault in health.faults:
        say(str(fault))
    return DataError.exit_code if health.faults else 0


def preview(words: list[str]) -> int:
    """One row as tokens: coloured in a terminal, marked elsewhere, or as a page."""
    rest, row = _taken(words, "--row")
    rest, page = _taken(rest, "--html")
    if row is not None and not (row.isdecimal() and int(row) > 0):
        raise RecipeError.one("CFG-VALUE", f"--row {row}", "", "give the number of a row, from 1")
    recipe = read_recipe(rest, verb="train")
    from hone.data.preview import show
    from hone.data.preview.page import html
    from hone.data.preview.terminal import text
    from hone.runs.encoding import encoding_of

    encoding = encoding_of(recipe)
    number = int(row) if row else None
    shown = show(recipe.data, encoding.stage, encoding.encoder, cache_dir=cache_root() / "data", row=number)
    if page is None:
        result(text(shown, colours=colourful(sys.stdout)))
        return 0
    write_text(Path(page), html(shown))
    say(f"page: {page}")
    return 0


def _taken(words: list[str], name: str) -> tuple[list[str], str | None]:
    """The words without `name VALUE` or `name=VALUE`, and the value."""
    for place, word in enumerate(words):
        if word.startswith(f"{name}="):
            return [*words[:place], *words[place + 1 :]], word.removeprefix(f"{name}=")
        if word == name:
            if place + 1 == len(words):
                raise RecipeError.one("CLI-VALUE", name, "", f"give a value after {name}")
            return [*words[:place], *words[place + 2 :]], words[place + 1]
    return words, None
