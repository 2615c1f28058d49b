"""A model whose weights are held in few bits, made ordinary again: each weight becomes the number it stood for."""

from __future__ import annotations

from typing import Any

from hone.errors import ModelError
from hone.models.quantization import is_quantized
from hone.models.silence import quiet


def unpacked(model: Any) -> Any:
    """The model with ordinary weights, so that an adapter can be added to them. Raises ModelError for a kind of
    quantised weights that cannot be turned back."""
    if not is_quantized(model):
        return model
    kind = getattr(model.config.quantization_config, "quant_method", "quantised")
    try:
        with quiet():
            model = model.dequantize()
    except (NotImplementedError, ValueError) as reason:
        raise ModelError.one(
            "EXPORT-QUANTIZED", f"{getattr(kind, 'value', kind)} weights cannot be turned back ({reason})", "",
            "export the adapter alone (export_format: gguf-lora), or serve it on its base",
        ) from reason  # fmt: skip
    model.hf_quantizer, model.is_quantized = None, False
    return model
