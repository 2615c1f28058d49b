"""Weights in few bits: quantised while they are loaded, or read from a checkpoint that is. A file for each method."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hone.errors import MachineError
from hone.log import warn
from hone.models.quantization.stored import stored_options
from hone.registry import find

if TYPE_CHECKING:
    import torch

    from hone.recipe import QuantizationSection

BLOCK = 64
"""Weights that share a scale, in bitsandbytes."""


def quantizing_options(
    section: QuantizationSection | None,
    config: Mapping[str, Any],
    *,
    dtype: torch.dtype,
    device: torch.device,
    training: bool,
) -> dict[str, Any]:
    """What `from_pretrained` is told beside the dtype; empty where weights are ordinary and stay so.

    `config` is the checkpoint's own. A method's file has `options(section, dtype, device)`. Raises MachineError when a
    package or a device is lacking, RecipeError for bits that the method does not know.
    """
    bits = section.quantization_bit if section is not None else None
    if config.get("quantization_config"):
        if bits is not None:
            warn("quantization_bit: the checkpoint is quantised already; it is loaded as it is")
        return stored_options(config["quantization_config"], device)
    if section is None or bits is None:
        return {}
    method = find(__name__, section.quantization_method)
    spread = section.quantization_device_map == "auto" and device.type == "cuda" and not training
    options: dict[str, Any] = method.options(section, dtype, device)
    return {**options, "device_map": "auto" if spread else {"": device}}


def need_package(package: str, install: str, key: str) -> None:
    """Raise MachineError with the line that installs the package, where it is not here."""
    if importlib.util.find_spec(package) is None:
        raise MachineError.one("QUANTIZATION", f"the package {package} is not installed", key, f"pip install {install}")


def is_quantized(model: Any) -> bool:
    """Whether the model holds weights that a sum cannot be added to: adapters stay beside them."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return bool(getattr(inner, "is_quantized", False))


def steady(model: Any, *, training: bool) -> Any:
    """The model, with those 4-bit layers of bitsandbytes held in their first form that must not take another.

    On a processor with bf16 instructions they re-pack themselves at the first forward without gradients, which an
    evaluation is, and no gradient passes through them ever after. Layers of an odd width cannot be re-packed at all.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu") and (training or module.in_features % BLOCK):
            module.support_avx512bf16_for_cpu = False
    return model
