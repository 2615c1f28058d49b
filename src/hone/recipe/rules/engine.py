"""Rules about what generates text: what an engine other than the built-in one can do of a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hone.recipe.rules.rule import Broken
from hone.recipe.schema import Recipe


class _Engine(NamedTuple):
    """`title` in sentences; `unread`: keys of model and quantization that it cannot honour, and what to do instead."""

    title: str
    unread: Mapping[str, str]


_AS_IT_IS = "a {} is read as it is; leave it out, or leave infer_backend out"
_WORDS = ("add_tokens", "add_special_tokens", "new_special_tokens_config", "resize_vocab", "rope_scaling")
_ATTENTION = "{} chooses its attention itself; leave it out"
_MERGE = "llama.cpp reads the whole model from one GGUF file; put it in with `hone export --export_format gguf`"
_BITS = "vLLM reads weights in the number format that they are stored in; export them quantised, or leave it out"

ENGINES = {
    "llamacpp": _Engine(
        "llama.cpp",
        {
            "adapter_name_or_path": _MERGE,
            "quantization_bit": "a GGUF file holds its weights in its own number format; leave it out",
            "flash_attn": _ATTENTION.format("llama.cpp"),
            **dict.fromkeys(_WORDS, _AS_IT_IS.format("GGUF file")),
        },
    ),
    "vllm": _Engine(
        "vLLM",
        {
            "quantization_bit": _BITS,
            "flash_attn": _ATTENTION.format("vLLM"),
            **dict.fromkeys(_WORDS, _AS_IT_IS.format("model's folder")),
        },
    ),
}
"""Those that read the model's files themselves."""


def engine_rules(recipe: Recipe) -> Iterator[Broken]:
    """For every verb that may generate."""
    engine = ENGINES.get(recipe.engine.infer_backend)
    if engine is None:
        return
    if recipe.verb == "train":
        yield Broken(("infer_backend",), "a run answers with the model it trains; leave it out")
        return
    if recipe.finetuning.stage == "rm":
        host = f"needs the model's hidden states, which {engine.title} does not give; leave infer_backend out"
        yield Broken(("infer_backend", "stage"), f"a score {host}")
    for section in (recipe.model, recipe.quantization):
        for name, fix in engine.unread.items():
            value = getattr(section, name, None)
            if value and (name, value) != ("flash_attn", "auto"):
                yield Broken((name, "infer_backend"), fix)
