"""OFT: orthogonal adapters that turn the inputs of chosen layers, new or continued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hone.errors import ModelError
from hone.models.targets import linear_layers, targets
from hone.models.tuners._adapters import layered, whole_modules, wrapped

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection, ModelSection


def prepare(
    model: Any, finetuning: FinetuningSection, model_section: ModelSection, *, training: bool, merge: bool
) -> Any:
    """The model with its adapters, as `layered` says. Raises ModelError for adapters or targets that do not fit it."""
    return layered(
        model, finetuning, model_section, training=training, merge=merge,
        new=lambda base: new_adapter(base, finetuning, model_section),
    )  # fmt: skip


def new_adapter(model: Any, finetuning: FinetuningSection, section: ModelSection) -> Any:
    """A fresh adapter that turns nothing yet. `oft_rank` blocks, or with 0 blocks of `oft_block_size`."""
    from peft import OFTConfig, TaskType

    modules = targets(model, finetuning.oft_target, finetuning, "oft_target")
    rank = finetuning.oft_rank
    size = 0 if rank else finetuning.oft_block_size
    _check_blocks(model, modules, rank or size, "oft_rank" if rank else "oft_block_size")
    config = OFTConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        oft_block_size=size,
        module_dropout=finetuning.module_dropout,
        target_modules=modules,
        modules_to_save=whole_modules(model, finetuning, section) or None,
    )
    return wrapped(model, config)


def _check_blocks(model: Any, modules: list[str], count: int, key: str) -> None:
    """Blocks must cut every input evenly. (The library would take the nearest number that does, and go on.)"""
    if count < 1:
        raise ModelError.one("TUNER-BLOCKS", "blocks have no size", key, "give oft_rank or oft_block_size")
    ends = tuple(f".{name}" for name in modules)
    widths = {
        m.in_features for name, m in linear_layers(model) if f".{name}".endswith(ends) and hasattr(m, "in_features")
    }
    odd = sorted(width for width in widths if width % count)
    if odd:
        raise ModelError.one(
            "TUNER-BLOCKS", f"{count} does not divide the inputs of {', '.join(map(str, odd))} numbers", key,
            "choose a number that divides all layers' inputs",
        )  # fmt: skip
