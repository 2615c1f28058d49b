"""Which models can be trained on pictures: their processor families, and how places in a picture are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Architecture:
    """`families`: the cards' families that write this model's pictures. `places`: a picture's tokens are counted like
    text ("line"), or by row and column of its grid ("grid", M-RoPE of Qwen2-VL)."""

    families: tuple[str, ...]
    places: Literal["line", "grid"]


ARCHITECTURES: Mapping[str, Architecture] = {
    "llava": Architecture(("llava",), "line"),
    "qwen2_vl": Architecture(("qwen2_vl",), "grid"),
    "qwen2_5_vl": Architecture(("qwen2_vl",), "grid"),
    "qwen3_vl": Architecture(("qwen3_vl", "qwen2_vl"), "grid"),
}
"""By the `model_type` of a config."""
