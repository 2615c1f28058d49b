"""HQQ: 1 to 8 bits without calibration, on CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hone.errors import MachineError, RecipeError

if TYPE_CHECKING:
    import torch

    from hone.recipe import QuantizationSection

BITS = (1, 2, 3, 4, 5, 6, 8)


def options(section: QuantizationSection, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """The library's config."""
    from hone.models.quantization import need_package

    if section.quantization_bit not in BITS:
        raise RecipeError.one(
            "CFG-VALUE", f"hqq has no {section.quantization_bit} bits", "quantization_bit", "choose 1 to 6, or 8"
        )
    if device.type == "cpu":
        raise MachineError.one(
            "QUANTIZATION", "hqq does not run on a processor", "quantization_method", "use bnb with 4 or 8 bits"
        )
    need_package("hqq", "hqq", "quantization_method")
    from transformers import HqqConfig

    return {"quantization_config": HqqConfig(nbits=section.quantization_bit, group_size=64)}
