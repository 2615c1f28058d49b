"""Rules about the model and its adapters."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from hone.recipe.rules.rule import Broken, missing
from hone.recipe.schema import Recipe

_ATTENTION_PACKAGES = {"fa2": "flash_attn", "fa3": "flash_attn_interface"}


def model_rules(recipe: Recipe) -> Iterator[Broken]:
    """Whatever is done with the model."""
    model, media = recipe.model, recipe.media
    if not model.model_name_or_path:
        yield missing("model_name_or_path", "give a folder, a GGUF file or the name of a model")
    package = _ATTENTION_PACKAGES.get(model.flash_attn)
    if package and importlib.util.find_spec(package) is None:
        fix = f"{model.flash_attn} needs the package {package}; leave flash_attn at auto, or install it"
        yield Broken(("flash_attn",), fix, "CFG-PACKAGE")
    if model.adapter_name_or_path and recipe.finetuning.finetuning_type not in ("lora", "oft"):
        yield Broken(("adapter_name_or_path", "finetuning_type"), "adapters go with finetuning_type: lora or oft")
    if model.init_special_tokens != "noise_init" and not model.new_special_tokens_config:
        yield missing("new_special_tokens_config", "descriptions are read from there", "init_special_tokens")
    if model.use_unsloth_gc and model.disable_gradient_checkpointing:
        yield Broken(("use_unsloth_gc", "disable_gradient_checkpointing"), "they say the opposite; keep one")
    yield from _bits(recipe)
    if media.image_max_pixels < media.image_min_pixels:
        yield Broken(("image_max_pixels", "image_min_pixels"), "the largest area is below the smallest")
    if media.video_max_pixels < media.video_min_pixels:
        yield Broken(("video_max_pixels", "video_min_pixels"), "the largest area is below the smallest")
    if recipe.training.arguments.get("gradient_checkpointing") and model.disable_gradient_checkpointing:
        yield Broken(("gradient_checkpointing", "disable_gradient_checkpointing"), "they say the opposite; keep one")


def _bits(recipe: Recipe) -> Iterator[Broken]:
    """Which numbers of bits a quantising method knows."""
    section = recipe.quantization
    known = {"bnb": (4, 8), "hqq": (1, 2, 3, 4, 5, 6, 8), "eetq": (8,)}[section.quantization_method]
    if section.quantization_bit is not None and section.quantization_bit not in known:
        fix = f"{section.quantization_method} knows {', '.join(map(str, known))}"
        yield Broken(("quantization_bit",), fix, "CFG-VALUE", ("quantization_method",))
    if section.quantization_device_map and recipe.verb == "train" and recipe.training.do_train:
        yield Broken(("quantization_device_map",), "spreads a model for generating; leave it out of training")
