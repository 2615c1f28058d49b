"""What a run's model sees with, or in words why it sees nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hone.dialogue.encoder import Encoder
from hone.errors import ModelError
from hone.log import say
from hone.media.architectures import ARCHITECTURES
from hone.media.expand import Grounds
from hone.media.viewer import Blind, Viewer
from hone.models.processor import Sighted, load_processor
from hone.recipe import Recipe

LIMITS = ("image_max_pixels", "image_min_pixels")
PAIRS = (
    ("patch_size", "patch_size"),
    ("merge_size", "spatial_merge_size"),
    ("temporal_patch_size", "temporal_patch_size"),
)
"""What a processor and a vision config call the same number."""


def seeing(recipe: Recipe, encoder: Encoder, *, needed: bool = True) -> Encoder:
    """The encoder with what sees pictures. Raises ModelError for a processor that is broken, where it is `needed`;
    else that is told, and the model is asked with text alone."""
    try:
        return encoder.seeing(_viewer(recipe, encoder))
    except ModelError as fault:
        if needed:
            raise
        say(f"Pictures cannot be shown to this model: {fault}")
        return encoder.seeing(Blind("its image processor cannot be loaded"))


def _viewer(recipe: Recipe, encoder: Encoder) -> Blind | Viewer:
    found = load_processor(recipe.model)
    if found is None:
        return Blind("this model reads text alone")
    kind = str(found.config.get("model_type"))
    architecture = ARCHITECTURES.get(kind)
    if architecture is None:
        return Blind(f"models of the kind {kind} cannot be shown them yet (so far: {', '.join(ARCHITECTURES)})")
    if found.processor is None:
        return Blind("the model's folder has no preprocessor_config.json")
    family, words = encoder.template.media.family, dict(encoder.template.media.tokens)
    if family not in architecture.families:
        return Blind(f"template {encoder.template.name} does not write them the way {kind} reads them")
    token = encoder.control.vocabulary.get(words["image"])
    wanted = found.config.get("image_token_id", found.config.get("image_token_index"))
    if token is None or (wanted is not None and wanted != token):
        return Blind(f"the tokenizer's {words['image']} is {token}, and the model's config says {wanted}")
    reason = _misfit(found)
    if reason:
        return Blind(reason)
    limits = {name: getattr(recipe.media, name) for name in LIMITS}
    grounds = Grounds(words, {**_told_by(found.config), **found.numbers, **limits})
    root = Path(recipe.data.media_dir or recipe.data.dataset_dir)
    return Viewer(architecture, family, token, grounds, found.processor, root)


def _told_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says of what its processor may leave out."""
    told = {"patch_size": config["vision_config"].get("patch_size")}
    told["vision_feature_select_strategy"] = config.get("vision_feature_select_strategy")
    return {name: value for name, value in told.items() if value is not None}


def _misfit(found: Sighted) -> str:
    """Where the processor and the model would cut a picture differently; empty where they agree."""
    inner, vision = found.numbers["image_processor"], found.config["vision_config"]
    for name, of_model in PAIRS:
        if name in inner and of_model in vision and inner[name] != vision[of_model]:
            return f"its image processor's {name} is {inner[name]}, and the model's config says {vision[of_model]}"
    return ""
