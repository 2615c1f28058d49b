"""The decoder blocks of a model: where they are, and which block a parameter belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hone.errors import ModelError
from hone.models.parts import parts_of


@dataclass(frozen=True)
class Blocks:
    """`prefix` is the name of the list (`model.layers`), `names` those of its blocks (`model.layers.0` ...)."""

    prefix: str
    names: tuple[str, ...]

    def split(self, parameter: str) -> tuple[int | None, str]:
        """The block's index and the name inside it; (None, the whole name) for a parameter outside the blocks."""
        if not parameter.startswith(self.prefix + "."):
            return None, parameter
        index, _, inner = parameter[len(self.prefix) + 1 :].partition(".")
        return (int(index), inner) if index.isdigit() else (None, parameter)


def find_blocks(model: Any) -> Blocks:
    """The model's decoder blocks: the list of as many modules as its config has layers. Raises ModelError."""
    from torch import nn

    config = model.config.get_text_config()
    lists = [(name, len(part)) for name, part in model.named_modules() if isinstance(part, nn.ModuleList)]
    seeing = parts_of(model)["tower"]
    fitting = [
        (name, size)
        for name, size in lists
        if size == getattr(config, "num_hidden_layers", None) and not any(name.startswith(f"{one}.") for one in seeing)
    ]
    if not fitting:
        raise ModelError.one(
            "TUNER-BLOCKS", f"the blocks of {type(model).__name__} are not found", "finetuning_type", "use lora or full"
        )
    prefix, size = min(fitting, key=lambda item: item[0].count("."))
    return Blocks(prefix, tuple(f"{prefix}.{index}" for index in range(size)))
