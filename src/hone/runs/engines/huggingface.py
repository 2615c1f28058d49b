"""The built-in engine: a transformers model with its adapters merged into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hone.engines.torch import TorchEngine
from hone.models import native
from hone.models.device import choose_device
from hone.models.dtype import inference_dtype, stored_dtype
from hone.models.load import load_model
from hone.models.source import find_source
from hone.models.tuners import attach
from hone.models.value_head import add_value_head, load_value_head
from hone.models.vocabulary import grow_model
from hone.recipe import Recipe


def check(recipe: Recipe) -> None:
    """It is always here."""


def start(recipe: Recipe, tokenizer: Any, *, slots: int, queue: int, named: int) -> TorchEngine:
    """The engine with its model. Raises ModelError, MachineError."""
    return TorchEngine(load_answering(recipe, tokenizer), tokenizer, slots=slots, queue=queue)


def load_answering(recipe: Recipe, tokenizer: Any) -> Any:
    """The recipe's model with its adapters, as an engine wants it; a reward model with its head.

    Raises ModelError, MachineError.
    """
    device = choose_device(use_cpu=recipe.training.use_cpu)
    if device.type == "cpu":
        native.begin()  # the compiler is at work while the weights are read
    stored = stored_dtype(find_source(recipe.model).path)
    dtype = inference_dtype(device, name=recipe.model.infer_dtype, stored=stored)
    model = load_model(recipe.model, recipe.quantization, dtype=dtype, device=device)
    grow_model(model, tokenizer, recipe.model)
    answering = attach(model, recipe.finetuning, recipe.model, training=False)
    if recipe.finetuning.stage == "rm":
        add_value_head(answering, None)
        adapters = recipe.model.adapter_name_or_path
        load_value_head(answering, Path(adapters[-1]) if adapters else find_source(recipe.model).path)
    return answering
