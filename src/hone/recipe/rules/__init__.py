"""What keys ask of each other: every rule that a recipe breaks, found before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hone.errors import Fault
from hone.recipe.rules.data import data_rules, template_rules
from hone.recipe.rules.engine import engine_rules
from hone.recipe.rules.finetuning import finetuning_rules
from hone.recipe.rules.later import later_rules
from hone.recipe.rules.model import model_rules
from hone.recipe.rules.predict import predict_rules
from hone.recipe.rules.rule import Broken
from hone.recipe.rules.training import training_rules
from hone.recipe.schema import Recipe

_TRAIN = ("model", "quantization", "media", "engine", "data", "training", "finetuning", "generating", "megatron")
_ASK = ("model", "quantization", "media", "engine", "data", "finetuning", "generating")
_USES: Mapping[str, tuple[str, ...]] = {
    "train": _TRAIN,
    "predict": _TRAIN,
    "export": ("model", "quantization", "data", "finetuning", "export"),
    "eval": ("model", "quantization", "data", "finetuning", "evaluation", "engine"),
}
EVERYWHERE = frozenset({"seed", "use_cpu"})
"""Keys of the training loop that every verb reads."""


def used_sections(verb: str) -> tuple[str, ...]:
    """The sections that a verb reads; a verb that is not listed asks a model something."""
    return _USES.get(verb, _ASK)


def check(
    recipe: Recipe, *, where: Mapping[str, str], faulty: set[str], templates: Collection[str] | None
) -> list[Fault]:
    """A fault for every broken rule. Rules about keys that are `faulty` already are passed over."""
    broken = _broken(recipe, templates)
    return [_fault(each, where) for each in broken if not faulty & {*each.keys, *each.weighed}]


def _broken(recipe: Recipe, templates: Collection[str] | None) -> Iterable[Broken]:
    yield from later_rules(recipe, used_sections(recipe.verb))
    yield from model_rules(recipe)
    yield from template_rules(recipe, templates)
    if "engine" in used_sections(recipe.verb):
        yield from engine_rules(recipe)
    if recipe.verb == "train":
        yield from data_rules(recipe)
        yield from finetuning_rules(recipe)
        yield from training_rules(recipe)
    if recipe.verb in ("train", "predict"):
        yield from predict_rules(recipe)


def _fault(broken: Broken, where: Mapping[str, str]) -> Fault:
    place = next((where[key] for key in broken.keys if where.get(key)), "")
    return Fault(broken.code, " and ".join(broken.keys), place, broken.fix)
