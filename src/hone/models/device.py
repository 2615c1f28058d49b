"""Which device a run uses, and what number formats that device can train and answer in."""

from __future__ import annotations

import os
from typing import Literal

import torch

Work = Literal["training", "inference"]


def choose_device(*, use_cpu: bool = False) -> torch.device:
    """The best device here: this process's CUDA or XPU card, else Apple's MPS, else the processor."""
    if use_cpu:
        return torch.device("cpu")
    rank = int(os.environ.get("LOCAL_RANK", "0") or 0)
    for kind in ("cuda", "xpu"):
        backend = getattr(torch, kind, None)
        if backend is not None and backend.is_available():
            return torch.device(kind, rank % max(1, backend.device_count()))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def can_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 can be computed there at all; a processor always can, if need be slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    return True


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth choosing unasked: the hardware has it."""
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) if torch.backends.mkldnn.is_available() else False
    return can_bfloat16(device)


def can_float16(device: torch.device, work: Work) -> bool:
    """Whether float16 can be used there; training in it needs gradient scaling, which only CUDA and XPU have."""
    return device.type in ("cuda", "xpu") or (work == "inference" and device.type == "mps")
