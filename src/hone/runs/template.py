"""Which template a model is spoken to with: named, remembered, known from the catalogue, or derived."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hone.dialogue.derive import derive_template
from hone.dialogue.encoder import Encoder
from hone.dialogue.fix_tokenizer import fix_tokenizer
from hone.dialogue.template import Template, load_template, template_names
from hone.errors import Fault, ModelError, RecipeError
from hone.log import say, warn
from hone.models.embeddings import vocabulary_size
from hone.models.source import find_source, locate
from hone.models.vocabulary import grows
from hone.recipe import DataSection, ModelSection
from hone.recipe.catalog import find_model
from hone.rundir import CARD, RunCard, read_card

OPTIONS = ("default_system", "enable_thinking", "preserve_thinking", "tool_format")
"""The recipe's keys that change how a template writes; they are remembered with it."""


def choose_encoder(
    model: ModelSection,
    data: DataSection,
    tokenizer: Any,
    *,
    card: RunCard | None = None,
    given: Collection[str] = (),
    base: str | None = None,
) -> Encoder:
    """The encoder that training, chat and serving share, so that what was trained is what is asked.

    The first that speaks wins: the template the recipe names, the card `hone.json` of an earlier run (which the recipe
    may repeat but not contradict), the catalogue's entry for the model, the tokenizer's own chat template.
    `given` holds the recipe's keys that the user wrote himself; `base` the fingerprint of the base model.
    The tokenizer is fixed up for the template here. Raises RecipeError for an unknown name or a contradiction,
    ModelError for another base model than the card's, or when no template can be found.
    """
    if card is not None:
        check_base(card, base)
        RecipeError.all_of(_contradictions(card, data, given))
    template, reason = _choose(model, data, tokenizer, card)
    template = template.with_options(**template_options(data, card=card, given=given))
    say(f"template {template.name}: {reason}")
    _fix(tokenizer, template, model)
    return Encoder(template, tokenizer)


def find_card(model: ModelSection) -> RunCard | None:
    """The card beside the last adapter, or in the model's own folder; None for a model that Hone did not tune.

    A fully tuned model is its own base, so its card's base is not asked about.
    """
    for adapter in reversed(model.adapter_name_or_path):
        place = locate(adapter, token=model.hf_hub_token, cache_dir=model.cache_dir, key="adapter_name_or_path")
        card = read_card(place.path / (model.adapter_folder or ""))
        if card is not None:
            return card
    path = find_source(model).path
    card = read_card(path.parent if path.is_file() else path)  # a GGUF file that was exported has its card beside it
    return card and replace(card, base_fingerprint=None)


def template_options(data: DataSection, *, card: RunCard | None = None, given: Collection[str] = ()) -> dict[str, Any]:
    """The template's options: what the recipe says, and where the user says nothing, what the card remembers.

    This is what a run writes into its own card.
    """
    said = {name: getattr(data, name) for name in OPTIONS}
    saved = card.template_options if card is not None else {}
    return said | {name: saved[name] for name in OPTIONS if name in saved and name not in given}


def check_base(card: RunCard, base: str | None) -> None:
    """Refuse to put an adapter on another base model than the one it was trained on."""
    if base and card.base_fingerprint and base != card.base_fingerprint:
        raise ModelError.one(
            "MODEL-BASE",
            f"the adapter was trained on {card.base_model} ({card.base_fingerprint}), not on this model ({base})",
            "model_name_or_path",
            f"name {card.base_model}",
        )


def _contradictions(card: RunCard, data: DataSection, given: Collection[str]) -> Iterator[Fault]:
    """Where the recipe says one thing and the card another."""
    said = {"template": data.template} if data.template else {}
    said |= {name: getattr(data, name) for name in OPTIONS if name in given}
    saved = {"template": card.template, **card.template_options}
    for name, value in said.items():
        if name in saved and saved[name] != value:
            yield Fault(
                "RECIPE-CARD",
                f"{name} is {value!r} here, but the model was trained with {saved[name]!r} ({CARD})",
                name,
                f"leave {name} out, or train again with it",
            )


def _choose(model: ModelSection, data: DataSection, tokenizer: Any, card: RunCard | None) -> tuple[Template, str]:
    if data.template:
        return _named(data.template), "named in the recipe"
    if card is not None and card.template in template_names():
        return load_template(card.template), f"saved with the model ({CARD})"
    entry = find_model(model.model_name_or_path or "") if card is None else None
    if entry is not None and entry.template:
        return load_template(entry.template), f"known for {entry.name}"
    if getattr(tokenizer, "chat_template", None):
        return derive_template(tokenizer), "derived from the tokenizer's own chat template"
    raise _no_template(model.model_name_or_path or "")


def _named(name: str) -> Template:
    """The template of a recipe; a wrong name is the recipe's fault."""
    try:
        return load_template(name)
    except ModelError as unknown:
        raise RecipeError(*unknown.faults) from None


def _fix(tokenizer: Any, template: Template, model: ModelSection) -> None:
    """Fit the tokenizer to the template. Raises ModelError where that takes tokens that the model has no room for."""
    new = fix_tokenizer(tokenizer, template)
    if not new:
        return
    lacks = f"template {template.name} needs {', '.join(new)}, which this model"
    if grows(model):
        return
    if len(tokenizer) > vocabulary_size(find_source(model).path):
        fix = "name the template that the model was taught with, or leave template out"
        raise ModelError.one("TEMPLATE-TOKENS", f"{lacks} does not know", model.model_name_or_path or "", fix)
    warn(f"{lacks}'s tokenizer did not have; is it the template that the model was taught with?")


def _no_template(model: str) -> ModelError:
    names = template_names()
    near = difflib.get_close_matches(Path(model).name.lower(), names, n=5, cutoff=0.3)
    return ModelError(
        Fault(
            "MODEL-TEMPLATE",
            "no template is known for this model, and its tokenizer has no chat template",
            model,
            f"name one with template=…, for example: {', '.join(near or names)}",
        )
    )
