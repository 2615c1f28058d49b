"""Which number formats a run uses: for the weights, for the computation, for what is trained; and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hone.errors import MachineError, RecipeError
from hone.models.device import can_bfloat16, can_float16, fast_bfloat16

SLOW = "bf16: this device has no instructions for bfloat16 and takes many times as long as in float32; leave it out"


@dataclass(frozen=True)
class DtypePlan:
    """`weights` as they are loaded, `autocast` for the computation (None: as the weights are), `trainable` parameters.

    `notes` are sentences to say once. Hand `arguments` to TrainingArguments in place of the user's own fp16 and bf16.
    """

    weights: torch.dtype
    autocast: torch.dtype | None = None
    trainable: torch.dtype = torch.float32
    notes: tuple[str, ...] = ()

    @property
    def arguments(self) -> dict[str, bool]:
        """What the trainer is told: mixed precision only where it happens."""
        return {"fp16": self.autocast == torch.float16, "bf16": self.autocast == torch.bfloat16}


def settle_dtype(
    device: torch.device,
    *,
    bf16: bool = False,
    fp16: bool = False,
    pure_bf16: bool = False,
    all_weights_train: bool = False,
    stored: torch.dtype | None = None,
) -> DtypePlan:
    """The plan for training on the device. `stored` is the checkpoint's own dtype, `all_weights_train` full tuning.

    Raises RecipeError when the wishes exclude each other, MachineError when the device cannot do bfloat16.
    """
    _one_wish(bf16=bf16, fp16=fp16, pure_bf16=pure_bf16)
    if (bf16 or pure_bf16) and not can_bfloat16(device):
        name = "pure_bf16" if pure_bf16 else "bf16"
        raise MachineError.one(
            "DTYPE-BF16", "this device cannot compute in bfloat16", name, "use fp16: true, or leave it out for float32"
        )
    notes = () if not (bf16 or pure_bf16) or fast_bfloat16(device) else (SLOW,)
    if pure_bf16:
        return DtypePlan(torch.bfloat16, trainable=torch.bfloat16, notes=notes)
    if fp16 and not can_float16(device, "training"):
        note = f"fp16: training in float16 needs a CUDA card; this run computes in float32 on {device.type} instead"
        return DtypePlan(torch.float32, notes=(note,))
    autocast = torch.bfloat16 if bf16 else torch.float16 if fp16 else None
    if all_weights_train:
        return DtypePlan(torch.float32, autocast, notes=notes)
    if fp16 and stored == torch.float32:
        return DtypePlan(torch.float32, autocast)
    # Float32 parameters that learn amid half-precision weights need autocast to work together.
    weights = autocast or inferred(device, stored)
    return DtypePlan(weights, None if weights == torch.float32 else weights, notes=notes)


def _one_wish(**wishes: bool) -> None:
    asked = [name for name, wish in wishes.items() if wish]
    if "fp16" in asked and len(asked) > 1:
        raise RecipeError.one("DTYPE-TWO", " and ".join(asked) + " exclude each other", asked[0], "keep one of them")


def inferred(device: torch.device, stored: torch.dtype | None) -> torch.dtype:
    """The dtype when none is asked for: the checkpoint's own where the hardware is good at it, else float32."""
    if stored == torch.bfloat16 and fast_bfloat16(device):
        return torch.bfloat16
    if stored in (torch.bfloat16, torch.float16) and can_float16(device, "training"):
        return torch.float16
    return torch.float32


def inference_dtype(device: torch.device, *, name: str = "auto", stored: torch.dtype | None = None) -> torch.dtype:
    """The dtype to answer in: the one `infer_dtype` names, or for `auto` the inferred one."""
    return inferred(device, stored) if name == "auto" else getattr(torch, name)


def stored_dtype(folder: Path) -> torch.dtype | None:
    """The dtype that the folder's config.json names; None when it names none (a GGUF file has none of its own)."""
    try:
        config: Any = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    inner = config.get("text_config") or {} if isinstance(config, dict) else {}
    for holder in (config, inner):
        name = holder.get("dtype") or holder.get("torch_dtype") if isinstance(holder, dict) else None
        found = getattr(torch, str(name).removeprefix("torch."), None)
        if isinstance(found, torch.dtype):
            return found
    return None
