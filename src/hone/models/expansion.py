"""LLaMA-Pro: a model with more blocks, each new one a copy that changes nothing yet; and which blocks those are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hone.errors import ModelError
from hone.models.blocks import find_blocks

SILENT = ("o_proj", "down_proj", "c_proj", "dense", "dense_4h_to_h", "wo", "w2", "out_proj", "fc2")
"""The layers through which a block adds to the stream: zero in a new block."""


def expanded_blocks(model: Any, count: int) -> list[str]:
    """Names of the last block of each of `count` equal stretches: where `expand` puts new ones. Raises ModelError."""
    blocks = find_blocks(model).names
    if count < 1 or len(blocks) % count:
        raise ModelError.one(
            "TUNER-LAYERS", f"{len(blocks)} blocks do not fall into {count} equal stretches", "freeze_trainable_layers",
            "give the number of blocks that hone expand added",
        )  # fmt: skip
    stride = len(blocks) // count
    return [blocks[place] for place in range(stride - 1, len(blocks), stride)]


def expand(source: Path, folder: Path, count: int) -> tuple[int, int]:
    """Write the model of a Hugging Face folder with `count` more blocks; returns how many it had and has.

    It answers as before: a new block is the one before it, with silent outputs. Raises ModelError.
    """
    import torch
    from safetensors.torch import save_file

    from hone.models.json_file import read_json
    from hone.models.preflight import check_folder
    from hone.models.shards import read_weights
    from hone.rundir import write_json

    check_folder(source)
    config = read_json(source / "config.json")
    layers = config.get("num_hidden_layers")
    if not isinstance(layers, int) or "quantization_config" in config:
        raise ModelError.one("MODEL-EXPAND", "only plain models of text can be given more blocks", str(source), "")
    if count < 1 or layers % count:
        raise ModelError.one(
            "MODEL-EXPAND", f"{layers} blocks do not fall into {count} equal stretches", "--blocks",
            f"choose a number that divides {layers}",
        )  # fmt: skip
    stride = layers // count
    folder.mkdir(parents=True, exist_ok=True)
    read_weights(source)
    tensors = _tensors(source)
    grown: dict[str, Any] = {}
    for name, tensor in tensors.items():
        place, inner = _split(name)
        if place is None:
            grown[name] = tensor
            continue
        prefix = name[: -len(f"{place}.{inner}")]
        new = place + place // stride
        grown[f"{prefix}{new}.{inner}"] = tensor
        if (place + 1) % stride == 0:
            silent = any(part in SILENT for part in inner.split("."))
            grown[f"{prefix}{new + 1}.{inner}"] = torch.zeros_like(tensor) if silent else tensor.clone()
    if not any(_split(name)[0] is not None and any(p in SILENT for p in name.split(".")) for name in tensors):
        raise ModelError.one("MODEL-EXPAND", "the outputs of its blocks are not known by name", str(source), "")
    save_file(grown, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", _grown_config(config, layers, stride))
    _copy_rest(source, folder)
    return layers, layers + count


def _grown_config(config: Mapping[str, Any], layers: int, stride: int) -> dict[str, Any]:
    """More layers, and a line for each in the lists that speak of every layer."""
    grown = {**config, "num_hidden_layers": layers + layers // stride}
    for name, value in config.items():
        if isinstance(value, list) and len(value) == layers:
            grown[name] = [each for place, one in enumerate(value) for each in [one] * (1 + (not (place + 1) % stride))]
    return grown


def _split(name: str) -> tuple[int | None, str]:
    """The block of a tensor and the name inside it (`model.layers.3.mlp.up_proj.weight`)."""
    from hone.models.preflight import LAYER

    found = LAYER.search(name)
    return (int(found[1]), name[found.end() :]) if found else (None, name)


def _tensors(source: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for path in sorted(source.glob("*.safetensors")):
        found |= load_file(path)
    return found


def _copy_rest(source: Path, folder: Path) -> None:
    """Tokenizer, chat template and generation settings, as they are."""
    import shutil

    for path in source.iterdir():
        weights = path.suffix in (".safetensors", ".bin", ".py", ".gguf") or path.name.endswith(".index.json")
        if path.is_file() and not weights and path.name not in ("config.json", "hone.json"):
            shutil.copyfile(path, folder / path.name)
