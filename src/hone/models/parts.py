"""The parts of a model that sees or hears: tower, projector, language model; and which of them do not learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hone.log import say

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection

NAMES: Mapping[str, tuple[str, ...]] = {
    "projector": (
        "multi_modal_projector", "mm_projector", "merger", "deepstack_merger_list", "connector", "projector", "aligner",
        "mlp1", "embed_vision", "embed_audio", "modality_projection", "vision_projector",
    ),
    "tower": (
        "visual", "vision_tower", "vision_model", "vision_encoder", "image_tower", "vit", "vpm", "audio_tower",
        "audio_model", "audio_encoder",
    ),
    "language": ("language_model", "text_model", "llm"),
}  # fmt: skip
"""What model families call them; a projector inside a tower (`visual.merger`) is a projector."""


def parts_of(model: Any) -> dict[str, list[str]]:
    """Full names of the outermost modules of each kind; empty lists for a model of text alone."""
    found: dict[str, list[str]] = {kind: list(_outermost(model, names)) for kind, names in NAMES.items()}
    if not found["tower"]:
        return {kind: [] for kind in NAMES}
    head = next((name for name, m in model.named_modules() if m is model.get_output_embeddings()), None)
    return {**found, "language": [*found["language"], *([head] if head else [])]}


def _outermost(model: Any, names: tuple[str, ...]) -> Iterator[str]:
    taken: list[str] = []
    for name, _ in model.named_modules():
        if name.rsplit(".", 1)[-1] in names and not any(name.startswith(f"{outer}.") for outer in taken):
            taken.append(name)
            yield name


def stands_still(model: Any, finetuning: FinetuningSection) -> Callable[[str], bool]:
    """Whether a module or parameter of a name belongs to a part that must not learn, by the recipe's freeze_* keys.

    The innermost part decides. In a model of text alone nothing stands still. What the model reads no answer of
    (`unread`) never learns.
    """
    parts = parts_of(model)
    wishes = {
        "tower": finetuning.freeze_vision_tower,
        "projector": finetuning.freeze_multi_modal_projector,
        "language": finetuning.freeze_language_model,
    }
    frozen = {name: wishes[kind] for kind, names in parts.items() for name in names}
    idle = unread(model) if not all(frozen[name] for name in parts["tower"]) else []
    if idle:
        say(f"{len(idle)} parts of what sees stand still: the model reads none of their answers (vision_feature_layer)")
        frozen |= dict.fromkeys(idle, True)

    def answer(name: str) -> bool:
        holders = [part for part in frozen if f"{name}.".startswith(f"{part}.")]
        return bool(holders) and frozen[max(holders, key=len)]

    return answer


def unread(model: Any) -> list[str]:
    """Modules of a tower that nothing hangs on: those behind the layer that a model like LLaVA reads
    (`vision_feature_layer`, which counts the embeddings as 0), with the norm and the pooling at the end."""
    chosen = getattr(model.config, "vision_feature_layer", None)
    if chosen is None:
        return []
    return [name for tower in parts_of(model)["tower"] for name in _behind(model, tower, chosen)]


def _behind(model: Any, tower: str, chosen: int | Sequence[int]) -> Iterator[str]:
    modules = dict(model.get_submodule(tower).named_modules(prefix=tower))
    encoder = next((name for name in modules if name.endswith(".encoder.layers")), None)
    if encoder is None:
        return
    count = len(modules[encoder])
    last = max(layer + count + 1 if layer < 0 else layer for layer in ([chosen] if isinstance(chosen, int) else chosen))
    yield from (f"{encoder}.{number}" for number in range(last, count))
    body = encoder.removesuffix(".encoder.layers")
    yield from (name for end in ("post_layernorm", "head") if (name := f"{body}.{end}") in modules)
