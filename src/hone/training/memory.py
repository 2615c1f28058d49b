"""Whether activations are kept or computed again: an estimate of what one micro-batch needs, against what is free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

_MMAP_THRESHOLD = -3
"""The name of the setting in `malloc.h`."""
LARGE = 1 << 20
"""Bytes from which on memory is given back as soon as it is free."""

SHARE = 0.35
"""Of the free memory, this much may be activations; the rest is for optimizer state, logits and waste."""


def must_recompute(model: nn.Module, *, tokens: int, device: torch.device, asked: bool | None) -> bool:
    """Gradient checkpointing, yes or no, for micro-batches of at most `tokens`.

    `asked` is the user's word, and final. Without it: on an accelerator yes, as users of this kind of recipe expect; on
    a processor, where a fifth of the time goes into computing twice, only when the estimate asks for it.
    """
    if asked is not None:
        return asked
    if device.type != "cpu":
        return True
    return activation_bytes(model, tokens) > SHARE * _free_bytes()


def activation_bytes(model: nn.Module, tokens: int) -> int:
    """What backward keeps of `tokens` tokens: about 12 hidden widths and 4 feed-forward widths for each block."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    hidden = getattr(text, "hidden_size", 0)
    wide = getattr(text, "intermediate_size", None) or 4 * hidden
    layers = getattr(text, "num_hidden_layers", 0)
    width = torch.finfo(next(model.parameters()).dtype).bits // 8
    return int(tokens * layers * (12 * hidden + 4 * wide) * width)


def give_back_at_once() -> None:
    """From now on this process's large tensors leave its memory when they are freed. The C library otherwise keeps up
    to 32 MB a piece for later, with holes: where activations are computed again that was 0.8 GB of 1.9 (measured on the
    small model). It costs a few percent of time."""
    import ctypes
    import sys

    change = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if change is not None:
        change(_MMAP_THRESHOLD, LARGE)


def memory_in_use(device: torch.device) -> dict[str, float]:
    """Gigabytes: of a card the most that was allocated and reserved so far; on a processor what the process holds."""
    if device.type == "cuda":
        held = {"vram_allocated": torch.cuda.max_memory_allocated, "vram_reserved": torch.cuda.max_memory_reserved}
        return {name: round(read(device) / 1e9, 3) for name, read in held.items()}
    import psutil

    return {"memory_resident": round(psutil.Process().memory_info().rss / 1e9, 3)}


def _free_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
