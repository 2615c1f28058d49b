"""Fill every blank of a recipe: sections from values, and the defaults that follow from other keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from hone.recipe.schema import SECTIONS, Key, Recipe, TrainingSection, training_arguments


def assemble(values: Mapping[str, Any], *, verb: str) -> Recipe:
    """The recipe of these values (by key, in their right types), blanks filled. Does not check anything."""
    sections = {name: _section(cls, values) for name, cls in SECTIONS.items()}
    sections["training"] = replace(sections["training"], arguments=_arguments(values))
    return _derive(Recipe(**sections, given=frozenset(values), verb=verb))


def _section(cls: type, values: Mapping[str, Any]) -> Any:
    names = {each.name for each in fields(cls)} & set(values)
    return cls(**{name: values[name] for name in names})


def _arguments(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the user gave of `TrainingArguments`, lists as lists, because transformers wants them so."""
    names = training_arguments()
    given = {name: value for name, value in values.items() if name in names}
    return MappingProxyType({name: list(value) if isinstance(value, tuple) else value for name, value in given.items()})


def _derive(recipe: Recipe) -> Recipe:
    """The defaults that depend on other keys (see `docs/recipe.md`)."""
    data, tuning, model = recipe.data, recipe.finetuning, recipe.model
    if tuning.lora_alpha is None:
        tuning = replace(tuning, lora_alpha=2 * tuning.lora_rank)
    packing = data.neat_packing or (tuning.stage == "pt" if data.packing is None else data.packing)
    data = replace(data, packing=packing, media_dir=data.media_dir or data.dataset_dir)
    if recipe.training.arguments.get("gradient_checkpointing") is False:
        model = replace(model, disable_gradient_checkpointing=True)
    return replace(recipe, data=data, finetuning=tuning, model=model, training=_training(recipe.training))


def _training(training: TrainingSection) -> TrainingSection:
    """Evaluation in steps follows the log when its own steps are left out; a strategy implies evaluation."""
    eval_steps = training.eval_steps or (training.logging_steps if training.eval_strategy == "steps" else None)
    return replace(training, eval_steps=eval_steps, do_eval=training.do_eval or training.eval_strategy != "no")


def given_value(recipe: Recipe, key: Key) -> Any:
    """The value of a key in a settled recipe, in its own type."""
    section = getattr(recipe, key.section)
    if key.name in {each.name for each in fields(section)}:
        return getattr(section, key.name)
    value = recipe.training.arguments.get(key.name, key.default)
    return tuple(value) if isinstance(value, list) else value
