"""The number formats of a GGUF file that Hone writes itself, and which tensor gets which."""

from __future__ import annotations

from typing import Any

from hone.errors import NumericError

TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
COARSE = ("q5_1", "q5_0", "q4_1", "q4_0")
"""Under these, the embeddings and the head are kept in q8_0: few bits there cost the most."""
ENDS = ("token_embd.weight", "output.weight")
BLOCK = 32
"""Weights that share a scale, in all of these."""


def type_of(name: str, shape: tuple[int, ...], wanted: str) -> Any:
    """The `GGMLQuantizationType` of a tensor: vectors stay float32, odd widths that blocks do not divide become f16."""
    from gguf import GGMLQuantizationType as Kind

    if len(shape) < 2 or name.startswith("rope_"):
        return Kind.F32
    if wanted.startswith("q"):
        if shape[-1] % BLOCK:
            return Kind.F16
        if wanted in COARSE and name in ENDS:
            return Kind.Q8_0
    return getattr(Kind, wanted.upper())


def file_type(wanted: str) -> int:
    """The number that a file names its format with."""
    from gguf import LlamaFileType

    kind = LlamaFileType.ALL_F32 if wanted == "f32" else getattr(LlamaFileType, f"MOSTLY_{wanted.upper()}")
    return int(kind)


def converted(name: str, values: Any, kind: Any) -> Any:
    """A float32 array in the format, as the bytes that go into the file. Raises NumericError past float16's range."""
    import numpy as np
    from gguf import GGMLQuantizationType as Kind
    from gguf import quants

    if kind == Kind.F32:
        return np.ascontiguousarray(values, dtype=np.float32)
    if kind == Kind.F16:
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise NumericError.one(
                "EXPORT-RANGE", f"the weight {name} holds numbers too large for f16", "export_gguf_type", "choose bf16"
            )
        return np.ascontiguousarray(values, dtype=np.float16)
    return np.ascontiguousarray(quants.quantize(np.ascontiguousarray(values, dtype=np.float32), kind))
