"""EETQ: 8 bits, on CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hone.errors import MachineError, RecipeError

if TYPE_CHECKING:
    import torch

    from hone.recipe import QuantizationSection


def options(section: QuantizationSection, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """The library's config."""
    from hone.models.quantization import need_package

    if section.quantization_bit != 8:
        raise RecipeError.one("CFG-VALUE", f"eetq has no {section.quantization_bit} bits", "quantization_bit", "use 8")
    if device.type != "cuda":
        raise MachineError.one(
            "QUANTIZATION", "eetq runs on CUDA only", "quantization_method", "use bnb with 4 or 8 bits"
        )
    need_package("kernels", "kernels", "quantization_method")
    from transformers import EetqConfig

    return {"quantization_config": EetqConfig("int8")}
