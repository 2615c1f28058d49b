"""The small verbs: those that only read or describe a recipe, and those that describe Hone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from hone.errors import RecipeError
from hone.log import result


def version(_words: Sequence[str]) -> int:
    """`hone version`."""
    from hone import __version__

    result(f"hone {__version__}")
    return 0


def usage_asked(_words: Sequence[str]) -> int:
    """`hone help`."""
    from hone.cli.main import usage

    result(usage())
    return 0


def show_help(verb: str) -> int:
    """`hone VERB -h`: the verb, and every key it reads."""
    from hone.cli.main import VERBS

    if VERBS[verb].words or not VERBS[verb].recipe:
        result(f"usage: hone {verb} {VERBS[verb].words}".rstrip() + f"\n\n{VERBS[verb].summary}")
    if not VERBS[verb].recipe:
        return 0
    from hone.recipe.reference import terminal_help
    from hone.recipe.rules import used_sections

    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    said = "\nA RECIPE, and its keys:" if VERBS[verb].words else VERBS[verb].summary
    result(f"{said}\n\n{terminal_help(verb, used_sections(verb), width=width)}".rstrip())
    return 0


def check(words: Sequence[str]) -> int:
    """`hone check [VERB] recipe.yaml …`: the recipe as that verb would settle it, secrets masked; `--json` for JSON."""
    from hone.cli.main import VERBS
    from hone.recipe import as_dict, as_yaml, read_recipe

    rest = [word for word in words if word != "--json"]
    verb = rest.pop(0) if rest and rest[0] in VERBS else _verb_of(rest)
    recipe = read_recipe(rest, verb=verb)
    wanted = json.dumps(as_dict(recipe), ensure_ascii=False, indent=2) if "--json" in words else as_yaml(recipe)
    result(wanted.rstrip())
    return 0


def schema(_words: Sequence[str]) -> int:
    """`hone schema`."""
    from hone.recipe.reference import json_schema

    result(json.dumps(json_schema(), ensure_ascii=False, indent=2))
    return 0


def docs(words: Sequence[str]) -> int:
    """`hone docs FILE`: write the recipe's reference there."""
    from hone.recipe.reference import markdown

    if len(words) != 1:
        raise RecipeError.one("CLI-USAGE", "hone docs", "", "name the file to write, such as docs/recipe.md")
    Path(words[0]).write_text(markdown(), encoding="utf-8")
    return 0


def env(_words: Sequence[str]) -> int:
    """`hone env`: what to put into a report of a fault."""
    from hone.cli.environment import describe

    result("\n".join(f"- {name}: {value}" for name, value in describe().items()))
    return 0


def _verb_of(words: Sequence[str]) -> str:
    """The verb a recipe is written for, guessed from its keys: what it exports, trains or evaluates, or else chat."""
    from hone.recipe.read import written_names

    names = written_names(words)
    if "export_dir" in names:
        return "export"
    if names & {"do_train", "do_eval", "do_predict", "output_dir"}:
        return "train"
    return "eval" if "task" in names else "chat"
