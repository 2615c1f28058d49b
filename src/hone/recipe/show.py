"""Write a settled recipe down: as a dictionary, and as YAML that can be read again; secrets masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hone.log import MASK
from hone.recipe.rules import EVERYWHERE, used_sections
from hone.recipe.schema import Recipe, all_keys
from hone.recipe.settled import given_value


def as_dict(recipe: Recipe, *, mask_secrets: bool = True, only_given: bool = False) -> dict[str, Any]:
    """Flat keys and plain values (tuples as lists), in the order of the sections.

    Without `only_given`, of the keys that nobody gave those are left out that the verb does not read, that only
    transformers reads, or that cannot be set.
    """
    told: dict[str, Any] = {}
    sections = used_sections(recipe.verb)
    for name, key in all_keys().items():
        used = key.section in sections or name in EVERYWHERE
        idle = only_given or key.inherited or key.about.later or not used
        if idle and name not in recipe.given:
            continue
        value = _plain(given_value(recipe, key))
        told[name] = MASK if mask_secrets and key.about.secret and value else value
    return told


def as_yaml(recipe: Recipe, *, mask_secrets: bool = True, only_given: bool = False) -> str:
    """The same as YAML 1.2, UTF-8, one key a line."""
    import yaml

    values = as_dict(recipe, mask_secrets=mask_secrets, only_given=only_given)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value
