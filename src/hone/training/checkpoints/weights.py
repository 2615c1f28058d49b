"""The weights of a checkpoint, put into a model that has their shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

ADAPTER = "adapter_model.safetensors"
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put the adapter, or the weights, saved in `folder` into the model, in place. Raises CheckpointError."""
    from safetensors import SafetensorError

    try:
        if (folder / ADAPTER).is_file():
            _load_adapter(model, folder / ADAPTER)
        else:
            _load_whole(model, folder)
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as reason:
        raise CheckpointError.one(
            "CKPT-WEIGHTS", f"the weights cannot be loaded ({reason})", str(folder),
            "resume from an earlier checkpoint with resume_from_checkpoint",
        ) from None  # fmt: skip


def _load_adapter(model: Any, file: Path) -> None:
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    result = set_peft_model_state_dict(model, load_file(file), adapter_name=model.active_adapters[0])
    if result.unexpected_keys:
        raise ValueError(f"the model has no {result.unexpected_keys[0]}")


def _load_whole(model: nn.Module, folder: Path) -> None:
    from safetensors.torch import load_file

    index = folder / INDEX
    shards = json.loads(index.read_text("utf-8"))["weight_map"].values() if index.is_file() else (WHOLE,)
    for name in sorted(set(shards)):
        result = model.load_state_dict(load_file(folder / Path(name).name), strict=False)
        if result.unexpected_keys:
            raise ValueError(f"the model has no {result.unexpected_keys[0]}")
