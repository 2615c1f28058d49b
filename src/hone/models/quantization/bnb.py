"""bitsandbytes: 4 bits (nf4 or fp4, QLoRA) and 8 bits (LLM.int8), on CUDA, XPU and processors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hone.errors import RecipeError

if TYPE_CHECKING:
    import torch

    from hone.recipe import QuantizationSection


def options(section: QuantizationSection, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """The library's config. Matrix products are computed in `dtype`."""
    from hone.models.quantization import need_package

    need_package("bitsandbytes", "'hone-llm[bnb]'", "quantization_method")
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells each layer's casts at each call

    if section.quantization_bit == 8:
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    if section.quantization_bit != 4:
        raise RecipeError.one(
            "CFG-VALUE", f"bitsandbytes has no {section.quantization_bit} bits", "quantization_bit", "choose 4 or 8"
        )
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=section.quantization_type,
            bnb_4bit_use_double_quant=section.double_quantization,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=dtype if device.type == "cuda" else None,  # a form that FSDP can cut up
        )
    }
