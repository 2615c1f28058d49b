"""Optimizers beside those of `TrainingArguments`. The folder is the registry: a file for each.

A file has `wanted(finetuning)`, whether the recipe asks for it, and `build(model, arguments, finetuning)`. Their state
is tensors and numbers alone, so that a checkpoint of it is read without running anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from hone.errors import RecipeError
from hone.registry import find, names

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from hone.recipe import FinetuningSection


def chosen_optimizer(finetuning: FinetuningSection) -> Callable[[Any, Any], Optimizer] | None:
    """What makes the optimizer that the recipe asks for, of a model and the trainer's arguments; None for `optim`.

    Raises RecipeError when it asks for two.
    """
    files = [find(__name__, name) for name in names(__name__)]
    wanted = [file for file in files if file.wanted(finetuning)]
    if len(wanted) > 1:
        both = " and ".join(file.__name__.rpartition(".")[2] for file in wanted)
        raise RecipeError.one("CFG-CONFLICT", f"two optimizers are asked for: {both}", "finetuning", "keep one")
    return partial(wanted[0].build, finetuning=finetuning) if wanted else None
