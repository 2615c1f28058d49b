"""Freeze tuning: the last or first blocks learn, or parts of them, and named modules outside; the rest stays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hone.errors import Fault, ModelError
from hone.models.blocks import Blocks, find_blocks
from hone.models.expansion import expanded_blocks
from hone.models.parts import parts_of, stands_still
from hone.models.vocabulary import whole_embeddings

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection, ModelSection


def prepare(
    model: Any, finetuning: FinetuningSection, model_section: ModelSection, *, training: bool, merge: bool
) -> Any:
    """Only the chosen parameters learn, and what sees where the recipe's freeze_* keys let it.

    Raises ModelError with the valid names when a choice fits nothing.
    """
    model.requires_grad_(False)
    if not training:
        return model
    blocks, count = find_blocks(model), finetuning.freeze_trainable_layers
    still, seeing = stands_still(model, finetuning), parts_of(model)
    seeing_parts = [*seeing["tower"], *seeing["projector"]]
    grown = whole_embeddings(model, model_section)
    modules = tuple(finetuning.freeze_trainable_modules) or ("all",)
    extra = tuple(finetuning.freeze_extra_modules or ())
    ModelError.all_of(_faults(model, blocks, count, modules, extra))
    chosen = chosen_layers(count, len(blocks.names))
    if finetuning.use_llama_pro:
        chosen = frozenset(blocks.names.index(name) for name in expanded_blocks(model, count))
    for name, parameter in model.named_parameters(remove_duplicate=False):
        layer, inner = blocks.split(name)
        if layer is None:
            learns = any(_holds(name, wanted) for wanted in extra) or any(parameter is weight for weight in grown)
            learns = learns or (not still(name) and any(name.startswith(f"{part}.") for part in seeing_parts))
        elif still(name):
            learns = False
        else:
            learns = layer in chosen and ("all" in modules or any(_holds(inner, wanted) for wanted in modules))
        if learns:
            parameter.requires_grad_(True)
    return model


def chosen_layers(count: int, layers: int) -> frozenset[int]:
    """The indices that learn: the last `count` blocks, or the first `-count` when it is negative."""
    return frozenset(range(layers - count, layers) if count > 0 else range(-count))


def _faults(model: Any, blocks: Blocks, count: int, modules: Sequence[str], extra: Sequence[str]) -> Iterator[Fault]:
    layers = len(blocks.names)
    if not 1 <= abs(count) <= layers:
        yield Fault(
            "TUNER-LAYERS", f"the model has {layers} blocks, {count} cannot learn", "freeze_trainable_layers",
            f"choose 1 to {layers}, or -{layers} to -1",
        )  # fmt: skip
    split = [blocks.split(name) for name, _ in model.named_parameters(remove_duplicate=False)]
    inside = [inner for layer, inner in split if layer is not None]
    outside = [name for layer, name in split if layer is None]
    yield from _unknown([name for name in modules if name != "all"], inside, frozenset(), "freeze_trainable_modules")
    yield from _unknown(extra, outside, frozenset(blocks.prefix.split(".")), "freeze_extra_modules")


def _unknown(wanted: Sequence[str], parameters: Sequence[str], holders: frozenset[str], key: str) -> Iterator[Fault]:
    """Names that no parameter passes through; `holders` are the modules around the blocks, which are no choice."""
    known = sorted({part for name in parameters for part in _parts(name)} - holders)
    for name in wanted:
        if name in holders or not any(_holds(parameter, name) for parameter in parameters):
            yield Fault("TUNER-MODULE", f"no module is called {name!r}", key, f"choose from {', '.join(known)}")


def _parts(name: str) -> list[str]:
    """The modules on the way to a parameter, without the parameter itself."""
    return [part for part in name.split(".")[:-1] if not part.isdigit()]


def _holds(name: str, wanted: str) -> bool:
    """Whether the dotted name passes through the wanted module (`mlp`, `self_attn.q_proj`)."""
    return re.search(rf"(?:^|\.){re.escape(wanted)}(?:\.|$)", name) is not None
