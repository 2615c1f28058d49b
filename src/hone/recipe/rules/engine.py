"""Rules about what generates text: what an engine other than the built-in one can do of a recipe."""

from __future__ import annotations

from collections.abc import Iterator

from hone.recipe.rules.rule import Broken
from hone.recipe.schema import Recipe

_MERGE = "llama.cpp reads the whole model from one GGUF file; put it in with `hone export --export_format gguf`"
_INSIDE = "a GGUF file is read as it is; leave it out, or leave infer_backend out"
_UNREAD = {
    "adapter_name_or_path": _MERGE,
    "quantization_bit": "a GGUF file holds its weights in its own number format; leave it out",
    "add_tokens": _INSIDE,
    "add_special_tokens": _INSIDE,
    "new_special_tokens_config": _INSIDE,
    "resize_vocab": _INSIDE,
    "rope_scaling": _INSIDE,
    "flash_attn": "llama.cpp chooses its attention itself; leave it out",
}
_HOST = "needs the model's hidden states, which llama.cpp does not give; leave infer_backend out"


def engine_rules(recipe: Recipe) -> Iterator[Broken]:
    """For every verb that may generate."""
    if recipe.engine.infer_backend != "llamacpp":
        return
    if recipe.verb == "train":
        yield Broken(("infer_backend",), "a run answers with the model it trains; leave it out")
        return
    if recipe.finetuning.stage == "rm":
        yield Broken(("infer_backend", "stage"), f"a score {_HOST}")
    for section in (recipe.model, recipe.quantization):
        for name, fix in _UNREAD.items():
            value = getattr(section, name, None)
            if value and (name, value) != ("flash_attn", "auto"):
                yield Broken((name, "infer_backend"), fix)
