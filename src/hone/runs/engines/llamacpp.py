"""GGUF files answered by llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import ModelError
from hone.models.gguf import find_gguf
from hone.models.source import find_source
from hone.recipe import Recipe

if TYPE_CHECKING:
    from hone.engines.llamacpp.engine import LlamaEngine


def check(recipe: Recipe) -> None:
    """Raises ModelError without a GGUF file, MachineError without llama.cpp."""
    from hone.engines.llamacpp.library import library

    _gguf(recipe)
    library()


def start(recipe: Recipe, tokenizer: Any, *, slots: int, queue: int, named: int) -> LlamaEngine:
    """`infer_dtype` is the number format of keys and values; the weights have that of the file."""
    from hone.engines.llamacpp.engine import LlamaEngine

    numbers = None if recipe.model.infer_dtype == "auto" else recipe.model.infer_dtype
    card = not recipe.training.use_cpu
    return LlamaEngine(_gguf(recipe), tokenizer, slots=slots, queue=queue, numbers=numbers, card=card)


def _gguf(recipe: Recipe) -> Path:
    path = find_source(recipe.model).path
    found = find_gguf(path)
    if found is None:
        raise ModelError.one(
            "LLAMACPP-FILE", "infer_backend: llamacpp answers with a GGUF file, and this is none", str(path),
            "write one with `hone export --export_format gguf`, or leave infer_backend out",
        )  # fmt: skip
    return found
