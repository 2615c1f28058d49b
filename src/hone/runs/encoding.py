"""What turns a recipe's data into tokens: tokenizer, template and stage; none of the model's weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hone.recipe import Recipe
from hone.rundir import RunCard

if TYPE_CHECKING:
    from hone.dialogue.encoder import Encoder


@dataclass(frozen=True)
class Encoding:
    """`base` is the fingerprint of the base model, `card` that of an earlier run, if there was one."""

    tokenizer: Any
    encoder: Encoder
    stage: Any
    base: str
    card: RunCard | None


def encoding_of(recipe: Recipe) -> Encoding:
    """The same for a training and for a look at its data. Raises ModelError and RecipeError."""
    from hone.dialogue.records import Document
    from hone.models.fingerprint import base_fingerprint
    from hone.models.source import find_source
    from hone.models.tokenizer import load_tokenizer
    from hone.models.vocabulary import add_words
    from hone.runs.seeing import seeing
    from hone.runs.template import choose_encoder, find_card
    from hone.stages import load_stage

    tokenizer = load_tokenizer(recipe.model)
    add_words(tokenizer, recipe.model)
    base = base_fingerprint(find_source(recipe.model).path)
    earlier = find_card(recipe.model)
    stage = load_stage(recipe.finetuning)
    data = recipe.data
    if stage.record is Document and not (data.template or earlier or getattr(tokenizer, "chat_template", None)):
        data = replace(data, template="empty")  # plain text needs none
    encoder = choose_encoder(recipe.model, data, tokenizer, card=earlier, given=recipe.given, base=base)
    encoder = seeing(recipe, encoder)
    stage.viewer = encoder.viewer
    return Encoding(tokenizer, encoder, stage, base, earlier)
