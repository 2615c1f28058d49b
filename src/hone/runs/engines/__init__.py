"""What answers, by its name in `infer_backend`: a file each, with `check(recipe)` and `start(recipe, …)`."""

from __future__ import annotations

from typing import Any

from hone.engines.answering import QUEUE, SLOTS, Answering
from hone.recipe import Recipe
from hone.registry import find


def open_engine(recipe: Recipe, tokenizer: Any, *, slots: int = SLOTS, queue: int = QUEUE, named: int = 0) -> Answering:
    """The engine that the recipe's `infer_backend` names, with its model. Raises ModelError, MachineError.

    `named`: how many adapters will be loaded by name.
    """
    place = find("hone.runs.engines", recipe.engine.infer_backend)
    engine: Answering = place.start(recipe, tokenizer, slots=slots, queue=queue, named=named)
    return engine


def check_engine(recipe: Recipe) -> None:
    """Whether the engine can be had at all, before anything is read. Raises MachineError, ModelError."""
    find("hone.runs.engines", recipe.engine.infer_backend).check(recipe)
