"""Versions and devices, for `hone env`; the one small verb that imports torch."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from hone import __version__

_PACKAGES = ("torch", "transformers", "datasets", "accelerate", "peft", "tokenizers", "safetensors")
_OPTIONAL = ("trl", "deepspeed", "bitsandbytes", "vllm", "gradio", "llama-cpp-python")


def describe() -> dict[str, str]:
    """What a report of a fault should say, by name."""
    told = {"hone": __version__, "platform": platform.platform(), "python": platform.python_version()}
    told |= {name: _version(name) or "not installed" for name in _PACKAGES}
    told |= {name: found for name in _OPTIONAL if (found := _version(name))}
    told |= {"cpu cores": str(os.cpu_count()), "devices": _devices()}
    return told | {"data folder": "found" if Path("data/dataset_info.json").is_file() else "not found"}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> str:
    try:
        import torch
    except ImportError:
        return "unknown, torch cannot be imported"
    if torch.cuda.is_available():
        found = (torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count()))
        return ", ".join(f"{each.name} ({each.total_memory / 2**30:.0f} GiB)" for each in found)
    return "mps" if torch.backends.mps.is_available() else "cpu"
