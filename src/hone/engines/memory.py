"""How many requests the memory for keys and values holds at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = 256
"""Room is made in steps of so many tokens."""


@dataclass(frozen=True)
class Memory:
    """`allowed`: bytes for keys and values of all requests together; `token`: bytes of one token in all layers."""

    allowed: int
    token: int

    @classmethod
    def of(cls, model: Any, allowed: int | None) -> Memory:
        """What a model needs; `allowed` None: half of the memory that is free now where it lies."""
        config = model.config.get_text_config(decoder=True)
        heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", None) or 1
        width = getattr(config, "head_dim", None) or config.hidden_size // (config.num_attention_heads or 1)
        layers = getattr(config, "num_hidden_layers", 1)
        token = 2 * layers * heads * width * model.dtype.itemsize
        return cls(free_memory(model.device) // 2 if allowed is None else allowed, token)

    @property
    def tokens(self) -> int:
        """How many tokens there is room for in all."""
        return self.allowed // self.token

    def holds(self, lengths: Sequence[int]) -> bool:
        """Whether requests of so many tokens at the most fit side by side: each takes the room of the longest.

        A single request is always let in; its length is bounded by the model's context.
        """
        widest = -(-max(lengths) // COLUMNS) * COLUMNS
        return len(lengths) == 1 or len(lengths) * widest * self.token <= self.allowed


def free_memory(device: Any) -> int:
    """Bytes that are free now where a device keeps its tensors."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)
