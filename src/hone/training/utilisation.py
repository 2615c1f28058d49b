"""How much of a device's arithmetic a training uses: the operations that its steps need, and the device's peak."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from hone.training.pace import Pace
    from hone.training.stage import Batch

IGNORED = -100
PEAKS = {
    "B200": 2250.0, "H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.0,
    "A10G": 70.0, "RTX 3090": 71.0, "V100": 125.0, "T4": 65.0,
}  # fmt: skip
"""TFLOP/s of 16-bit products with 32-bit sums, dense, by a part of the card's name; from the makers' data sheets."""
SIZE = 2048
"""Rows of the square matrices that a processor is measured with."""
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
CHOSEN = ("num_experts_per_tok", "moe_topk", "num_experts_per_token")


@dataclass(frozen=True)
class Arithmetic:
    """Operations (a product and its sum are two) of one forward and backward: for each token, for each label at the
    head, and for each pair of a token and one that it may look at."""

    token: float
    label: float
    pair: float
    window: int | None = None

    def of(self, batch: Batch) -> Tensor:
        """Those of a flattened batch, a scalar where the batch lies: nothing waits for the device. Looking back is
        causal, so that a segment of n tokens has about n² / 2 pairs."""
        ids, borders = batch["input_ids"], batch.get("cu_seqlens")
        lengths = (
            torch.full(ids.shape[:1], ids.shape[1], device=ids.device) if borders is None else borders.diff().long()
        )
        reach = lengths.clamp(max=self.window) if self.window else lengths
        labels = (batch["labels"] != IGNORED).sum()
        return self.token * ids.numel() + self.label * labels + self.pair * (lengths * reach).sum()


def arithmetic_of(model: nn.Module, *, logits: bool = True) -> Arithmetic:
    """What the model costs as it is set to learn: 2 for each weight forward, 2 more where a gradient passes through,
    and 2 more where the weight itself learns. So a frozen weight under an adapter costs 4, not 6.

    `logits`: the loss is made of the head's answers. Reference models, rewards and answers that are written are not
    counted: they are not what is learned with.
    """
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    find = getattr(model, "get_output_embeddings", lambda: None)
    head, share = find(), _share_of_experts(text)
    token, label, flows = 0.0, 0.0, False
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        learns = any(weight.requires_grad for weight in own.values())
        flows = flows or learns
        size = 0 if isinstance(module, nn.Embedding) else _matrices(module, own)
        cost = size * (2.0 + 2.0 * flows + 2.0 * learns)
        if module is head or name.endswith("lm_head") or ".lm_head." in name:
            label += cost
        else:
            token += cost * (share if "experts" in name else 1.0)
    layers, heads = int(getattr(text, "num_hidden_layers", 0)), int(getattr(text, "num_attention_heads", 0))
    wide = heads * int(getattr(text, "head_dim", None) or int(getattr(text, "hidden_size", 0)) // max(heads, 1))
    return Arithmetic(token, label if logits else 0.0, (6.0 if flows else 2.0) * layers * wide, _window(text))


def _matrices(module: nn.Module, own: dict[str, nn.Parameter]) -> int:
    """Numbers in a module's own matrices; those of a packed one are counted by its two sides."""
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    return sum(weight.numel() for weight in own.values() if weight.ndim > 1)


def _share_of_experts(text: Any) -> float:
    """Which part of a mixture's experts a token goes through."""
    experts = next((int(n) for name in EXPERTS if (n := getattr(text, name, None))), 0)
    chosen = next((int(n) for name in CHOSEN if (n := getattr(text, name, None))), 0)
    return chosen / experts if experts and chosen else 1.0


def _window(text: Any) -> int | None:
    """How far back every layer looks; None where some look at everything."""
    if any(kind == "full_attention" for kind in getattr(text, "layer_types", None) or ()):
        return None
    used = getattr(text, "use_sliding_window", True)
    return (getattr(text, "sliding_window", None) or None) if used else None


def peak_of(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations a second of matrix products there: of a known card from its data sheet (16 bits only), of a processor
    as measured now; None where it is not known."""
    if device.type == "cpu":
        return _measured(dtype)
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak * 1e12 for part, peak in PEAKS.items() if part in name), None)


def _measured(dtype: torch.dtype) -> float:
    left = torch.randn(SIZE, SIZE).to(dtype)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - began)
    return 2 * SIZE**3 / max(best, 1e-9)


def speeds(
    pace: Pace, *, seconds: float, device: torch.device, dtype: torch.dtype, processes: int = 1
) -> dict[str, float]:
    """For the results of a run: real tokens a second, operations of the model a second (in units of 10¹²), and which
    part of the device's peak that is (`mfu`), where that is known."""
    found = {"effective_tokens_per_sec": pace.tokens / max(seconds, 1e-9)}
    rate = float(pace.operations) / max(seconds, 1e-9)
    peak = peak_of(device, dtype)
    found["model_tflops_per_sec"] = rate / 1e12
    return found if peak is None else {**found, "mfu": rate / (peak * processes)}
