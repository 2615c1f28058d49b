"""From what the user wrote to a settled recipe: every fault at once, nothing heavy imported."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from hone.errors import Fault, RecipeError
from hone.log import MASK, hide, warn
from hone.recipe.aliases import OLD, Old, renew
from hone.recipe.entry import Entry
from hone.recipe.file import read_file
from hone.recipe.rules import EVERYWHERE, check, used_sections
from hone.recipe.schema import Recipe, all_keys
from hone.recipe.settled import assemble
from hone.recipe.values import MisfitError, fit
from hone.recipe.words import read_words, split_file


@dataclass
class _Reading:
    """What has been understood so far: values by current key, where each stands, and the faults."""

    values: dict[str, Any] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


def read_recipe(words: Sequence[str], *, verb: str, templates: Collection[str] | None = None) -> Recipe:
    """The settled recipe from the words after the verb: `file.yaml name=value …`, or `--name value …`.

    `templates` are the known template names (default: the cards that Hone ships). Raises RecipeError with all faults.
    """
    name, rest = split_file(words)
    entries, faults = read_file(name) if name else ([], [])
    more, wrong = read_words(rest)
    given = {entry.name for entry in more}
    kept = [entry for entry in entries if entry.name not in given]
    return _settle([*kept, *more], [*faults, *wrong], verb=verb, templates=templates)


def written_names(words: Sequence[str]) -> frozenset[str]:
    """The names that the words and their file give, as written; nothing is checked but that they can be read."""
    name, rest = split_file(words)
    entries, _ = read_file(name) if name else ([], [])
    return frozenset(entry.name for entry in [*entries, *read_words(rest)[0]])


def settle(values: Mapping[str, Any], *, verb: str, templates: Collection[str] | None = None) -> Recipe:
    """The settled recipe from a dictionary of keys and values. Raises RecipeError with all faults."""
    entries = [Entry(str(name), value) for name, value in values.items()]
    return _settle(entries, [], verb=verb, templates=templates)


def _settle(
    entries: Iterable[Entry], faults: Iterable[Fault], *, verb: str, templates: Collection[str] | None
) -> Recipe:
    reading = _Reading(faults=list(faults))
    for entry in entries:
        _understand(entry, reading)
    recipe = assemble(reading.values, verb=verb)
    reading.faults += check(recipe, where=reading.where, faulty=reading.faulty, templates=templates)
    if reading.faults:
        raise RecipeError(*reading.faults)
    _tell_unused(recipe)
    return recipe


def _tell_unused(recipe: Recipe) -> None:
    """Say which keys this verb has no use for, so that none is swallowed silently."""
    sections = used_sections(recipe.verb)
    unused = sorted(
        name for name in recipe.given if all_keys()[name].section not in sections and name not in EVERYWHERE
    )
    if unused:
        warn(f"not used by {recipe.verb}: {', '.join(unused)}")


def _understand(entry: Entry, reading: _Reading) -> None:
    """Rename, type and store one entry, or note what is wrong with it."""
    renewed = renew(entry)
    if renewed is None:
        if OLD.get(entry.name, Old()).any_value:
            warn(f"{entry.name} has no effect: {OLD[entry.name].reason}")
        return
    if isinstance(renewed, Fault):
        reading.faults.append(renewed)
        return
    key = all_keys().get(renewed.name)
    if key is None:
        _unknown(entry, reading)
        return
    try:
        value = fit(key, renewed.value)
    except MisfitError as misfit:
        reading.faulty.add(key.name)
        reading.faults.append(Fault("CFG-VALUE", entry.name, entry.where, str(misfit)))
        return
    if key.about.secret and value:
        if value == MASK:
            warn(f"{entry.name} is masked here and is left out; give it again if it is needed")
            return
        hide(str(value))
    _store(key.name, value, entry, reading)


def _store(name: str, value: Any, entry: Entry, reading: _Reading) -> None:
    """Keep a value. Two spellings of one key must agree, but zero warm-up steps give way to a share of all steps."""
    earlier = reading.spelled.get(name)
    if earlier is not None and earlier != entry.name and reading.values[name] != value:
        if name == "warmup_steps" and 0 in (value, reading.values[name]):
            value = value or reading.values[name]
        else:
            reading.faulty.add(name)
            said = f"says otherwise than {earlier}, which is the same setting; keep {name}"
            reading.faults.append(Fault("CFG-CONFLICT", entry.name, entry.where, said))
    reading.values[name], reading.where[name], reading.spelled[name] = value, entry.where, entry.name


def _unknown(entry: Entry, reading: _Reading) -> None:
    if os.environ.get("ALLOW_EXTRA_ARGS", "").lower() in ("1", "true", "y"):
        warn(f"{entry.name}: no such setting, ignored because ALLOW_EXTRA_ARGS is set")
        return
    close = get_close_matches(entry.name, [*all_keys(), *OLD], n=1, cutoff=0.7)
    fix = f"did you mean {close[0]}?" if close else "no such setting; `hone train -h` lists all"
    reading.faults.append(Fault("CFG-UNKNOWN", entry.name, entry.where, fix))
