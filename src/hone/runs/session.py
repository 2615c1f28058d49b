"""A recipe becomes a session: tokenizer, template, model, adapters and engine put together, ready to answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hone.engines.boarded import QUEUE, SLOTS, BoardEngine
from hone.engines.session import Session
from hone.engines.torch import TorchEngine
from hone.errors import ModelError
from hone.models.device import choose_device
from hone.models.dtype import inference_dtype, stored_dtype
from hone.models.fingerprint import base_fingerprint
from hone.models.gguf import find_gguf
from hone.models.load import load_model
from hone.models.source import find_source
from hone.models.tokenizer import load_tokenizer
from hone.models.tuners import attach
from hone.models.value_head import add_value_head, load_value_head
from hone.models.vocabulary import add_words, grow_model
from hone.recipe import Recipe
from hone.runs.seeing import seeing
from hone.runs.template import choose_encoder, find_card
from hone.runs.voices import Voices, first_card, named_adapters, without_adapters


def open_session(recipe: Recipe, *, slots: int = SLOTS, queue: int = QUEUE, by_name: bool = False) -> Session:
    """Load what the recipe names. Everything cheap is checked first; raises ModelError, RecipeError, MachineError.

    `slots` requests are answered at once, and `queue` more may wait. `by_name`: whoever asks may choose among adapters
    given as `name=folder`, and load more.
    """
    named = named_adapters(recipe) if by_name else {}
    recipe = without_adapters(recipe) if named else recipe
    check_engine(recipe)
    folder = find_source(recipe.model).path
    tokenizer = load_tokenizer(recipe.model)
    add_words(tokenizer, recipe.model)
    encoder = choose_encoder(
        recipe.model,
        recipe.data,
        tokenizer,
        card=find_card(recipe.model) or first_card(named),
        given=recipe.given,
        base=base_fingerprint(folder),
    )
    encoder = seeing(recipe, encoder, needed=False)
    engine = open_engine(recipe, tokenizer, slots=slots, queue=queue)
    session = Session(engine, encoder, load=Voices(recipe, engine, encoder).load if by_name else None)
    for name, place in named.items():
        session.load_adapter(name, place)
    return session


def open_engine(recipe: Recipe, tokenizer: Any, *, slots: int = SLOTS, queue: int = QUEUE) -> BoardEngine:
    """The engine that the recipe's `infer_backend` names, with its model. Raises ModelError, MachineError."""
    if recipe.engine.infer_backend == "llamacpp":
        return _open_llamacpp(recipe, tokenizer, slots=slots, queue=queue)
    return TorchEngine(load_answering(recipe, tokenizer), tokenizer, slots=slots, queue=queue)


def check_engine(recipe: Recipe) -> None:
    """Whether the engine can be had at all, before anything is read. Raises MachineError, ModelError."""
    if recipe.engine.infer_backend == "llamacpp":
        from hone.engines.llamacpp.library import library

        _gguf(recipe)
        library()


def _open_llamacpp(recipe: Recipe, tokenizer: Any, *, slots: int, queue: int) -> BoardEngine:
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


def load_answering(recipe: Recipe, tokenizer: Any) -> Any:
    """The recipe's model with its adapters, as an engine wants it; a reward model with its head.

    Raises ModelError, MachineError.
    """
    device = choose_device(use_cpu=recipe.training.use_cpu)
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
