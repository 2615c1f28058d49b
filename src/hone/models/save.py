"""Saving what was learned: an adapter or whole weights as safetensors, with the tokenizer and its chat template."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hone.errors import MachineError
from hone.models.silence import quiet
from hone.models.value_head import NAME, save_value_head, value_head
from hone.rundir import umask, write_json


def save_model(model: Any, tokenizer: Any, folder: Path, *, shard_gigabytes: int = 5) -> None:
    """Write the model to the folder: the adapter alone where there is one, else config and weights; a value
    head; then the tokenizer.

    Each file is written beside its place and moved there whole. Tied weights are written once. Weights keep the
    precision they have. Raises MachineError when the disk is full or may not be written.
    """
    from safetensors import SafetensorError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as name, quiet():
            place = Path(name)
            _write(model, place, shard_gigabytes)
            if tokenizer is not None:
                tokenizer.save_pretrained(place)
            _move(place, folder)
    except (OSError, SafetensorError) as reason:  # the second is how its library says that the disk is full
        raise MachineError.one(
            "SAVE", f"the model cannot be written ({getattr(reason, 'strerror', None) or reason})", str(folder),
            "free some space, or choose another folder",
        ) from reason  # fmt: skip


def _write(model: Any, place: Path, shard_gigabytes: int) -> None:
    head = value_head(model)
    if head is None:
        _write_model(model, place, shard_gigabytes)
        return
    save_value_head(head, place)
    del model._modules[NAME]  # it has a file of its own
    try:
        _write_model(model, place, shard_gigabytes)
    finally:
        model.add_module(NAME, head)


def _write_model(model: Any, place: Path, shard_gigabytes: int) -> None:
    if _is_adapted(model):
        # Without its guess about embeddings, for which it would ask the network.
        model.save_pretrained(place, save_embedding_layers=False)
        (place / "README.md").unlink(missing_ok=True)  # ours says more
        _sort_targets(place / "adapter_config.json")
    else:
        model.save_pretrained(place, max_shard_size=f"{shard_gigabytes}GB")


def _is_adapted(model: Any) -> bool:
    """Whether it is PEFT's; where that was never brought in, nothing is."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def _sort_targets(path: Path) -> None:
    """The library keeps names in a set, whose order changes from run to run; files of equal runs are to be equal."""
    config = json.loads(path.read_text("utf-8"))
    for key in ("target_modules", "modules_to_save"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    write_json(path, config)


def _move(place: Path, folder: Path) -> None:
    """Weights first and configs after, so that a folder with a config has its weights."""
    files = sorted((path for path in place.iterdir() if path.is_file()), key=lambda path: path.suffix == ".json")
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.chmod(0o666 & ~umask())
        path.replace(folder / path.name)
