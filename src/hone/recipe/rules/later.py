"""Keys that Hone does not honour yet: refused with the reason when they are given another value than the default."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hone.recipe.rules.rule import Broken
from hone.recipe.schema import Recipe, all_keys
from hone.recipe.settled import given_value


def later_rules(recipe: Recipe, sections: Collection[str]) -> Iterator[Broken]:
    """The given keys of these sections that would be swallowed."""
    for name in sorted(recipe.given):
        key = all_keys()[name]
        if key.section not in sections:
            continue
        value = given_value(recipe, key)
        if key.about.later and value != key.default:
            yield Broken((name,), f"cannot be set: {key.about.later}", "CFG-LATER")
        elif isinstance(value, str) and value in key.about.later_values:
            yield Broken((name,), f"cannot be {value}: {key.about.later_values[value]}", "CFG-LATER")
