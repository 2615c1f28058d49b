"""Liger's fused kernels for norms, rotary positions and gated activations, where the package and a CUDA card are."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from hone.errors import MachineError
from hone.log import warn

if TYPE_CHECKING:
    import torch


def apply_liger(model: Any, device: torch.device) -> None:
    """Replace the model's small operations, in place; the loss stays Hone's own. Raises MachineError where it can't.

    A model type that Liger does not know is left as it is, with a warning.
    """
    if device.type not in ("cuda", "xpu"):
        raise MachineError.one(
            "LIGER", f"its kernels do not run on {device.type}", "enable_liger_kernel", "leave it out on this machine"
        )
    if importlib.util.find_spec("liger_kernel") is None:
        raise MachineError.one(
            "LIGER", "the package liger-kernel is not installed", "enable_liger_kernel", "pip install liger-kernel"
        )
    from liger_kernel.transformers import monkey_patch

    kind = model.config.get_text_config().model_type
    if kind not in monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN:
        warn(f"enable_liger_kernel: Liger does not know models of the type {kind}")
        return
    monkey_patch._apply_liger_kernel_to_instance(model, fused_linear_cross_entropy=False, cross_entropy=False)
