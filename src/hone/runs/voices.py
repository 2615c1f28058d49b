"""Adapters that a session answers with by name: told from those that are merged, loaded, each with its own template."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hone.dialogue.encoder import Encoder
from hone.errors import ModelError, RecipeError
from hone.models.adapters import locate_adapter
from hone.models.fingerprint import base_fingerprint
from hone.models.source import find_source
from hone.recipe import ModelSection, Recipe
from hone.rundir import RunCard, read_card
from hone.runs.seeing import seeing
from hone.runs.template import choose_encoder

NAMED = re.compile(r"([A-Za-z0-9][\w.:\-]{0,63})=(.+)")
KEY = "adapter_name_or_path"


def named_adapters(recipe: Recipe) -> dict[str, Path]:
    """The folders of adapters given as `name=folder`; empty where they are given without names, to be merged.

    Raises RecipeError where some have names and some do not, or two the same; ModelError for a folder that is none.
    """
    model = recipe.model
    found = [(item, None if Path(item).exists() else NAMED.fullmatch(item)) for item in model.adapter_name_or_path]
    pairs = [(match[1], match[2]) for _, match in found if match]
    if not pairs:
        return {}
    if len(pairs) < len(found):
        what = "some adapters have a name and some have none"
        raise RecipeError.one("CFG-RULE", what, KEY, "write name=folder for each, or merge the others with hone export")
    if len({name for name, _ in pairs}) < len(pairs):
        raise RecipeError.one("CFG-RULE", "two adapters have the same name", KEY, "give each its own")
    if recipe.finetuning.stage == "rm":
        raise RecipeError.one(
            "CFG-RULE", "a reward model has one adapter, without a name", KEY, "write the folder alone"
        )
    return {name: locate_adapter(path, model) for name, path in pairs}


def without_adapters(recipe: Recipe) -> Recipe:
    """The recipe of the base alone."""
    return replace(recipe, model=replace(recipe.model, adapter_name_or_path=()))


def first_card(folders: Mapping[str, Path]) -> RunCard | None:
    """The first card among adapters: how a base without one is spoken to."""
    return next((card for folder in folders.values() if (card := read_card(folder)) is not None), None)


class Voices:
    """Loads adapters into an engine. Each is spoken to as it was taught, by the template of its own card."""

    def __init__(self, recipe: Recipe, engine: Any, encoder: Encoder) -> None:
        self.recipe, self.engine, self.encoder = recipe, engine, encoder

    def load(self, name: str, folder: Path) -> Encoder:
        """Load it under a name; the encoder to speak to it with. Raises ModelError, RecipeError, QueueFullError."""
        adapters = getattr(self.engine, "adapters", None)
        if adapters is None:
            what = "this engine answers with the model alone, not with adapters by name"
            raise RecipeError.one("ENGINE-ADAPTERS", what, "infer_backend", "use infer_backend: huggingface")
        encoder = self._encoder(read_card(folder), self.recipe.model)
        adapters.load(name, folder, self.recipe.model)
        return encoder

    def _encoder(self, card: RunCard | None, model: ModelSection) -> Encoder:
        """The session's own where the adapter was taught with the same template, as most are."""
        if card is None:
            return self.encoder
        words: Any = self.encoder.tokenizer
        tokenizer = copy.deepcopy(words)
        base = base_fingerprint(find_source(model).path)
        found = choose_encoder(model, self.recipe.data, tokenizer, card=card, given=self.recipe.given, base=base)
        if found.template == self.encoder.template:
            return self.encoder
        if tokenizer.get_vocab() != words.get_vocab():
            what = f"its template {card.template} needs tokens that the served model does not have"
            raise ModelError.one("ADAPTER-TEMPLATE", what, "", "serve it alone, without a name")
        return seeing(self.recipe, found, needed=False)
