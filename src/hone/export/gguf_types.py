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
AT_ONCE = 1 << 13
"""Blocks that are brought into eight bits together: a megabyte of weights."""


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
    values = np.ascontiguousarray(values, dtype=np.float32)
    return in_eight_bits(values) if kind == Kind.Q8_0 else np.ascontiguousarray(quants.quantize(values, kind))


def in_eight_bits(values: Any) -> Any:
    """A float32 array [..., a multiple of 32] in q8_0, as bytes [..., 34 for each 32]: of each block the scale in
    float16, then its 32 weights in eight bits each. The bytes are those of `gguf.quants.quantize`, in a quarter of the
    time: a few blocks at a time, which stay in the processor's cache."""
    import numpy as np
    import torch

    blocks = torch.from_numpy(values).view(-1, BLOCK)
    made = torch.empty(len(blocks), 2 + BLOCK, dtype=torch.uint8)
    half = torch.tensor(np.nextafter(np.float32(0.5), np.float32(0)))  # added, it rounds halves away from zero
    for some, into in zip(blocks.split(AT_ONCE), made.split(AT_ONCE), strict=True):
        scale = some.abs().amax(1, keepdim=True) / 127
        scaled = some * torch.where(scale == 0, 0.0, 1 / scale)
        into[:, :2] = scale.half().view(torch.uint8)
        into[:, 2:] = (scaled + torch.copysign(half, scaled)).to(torch.int8).view(torch.uint8)
    return made.view(*values.shape[:-1], -1).numpy()
