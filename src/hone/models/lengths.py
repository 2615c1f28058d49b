"""A flattened row of bfloat16 is filled up to one of few lengths: a processor's products are built for each they meet.

oneDNN builds machine code for each shape of a product that it has not met lately: some 36 for each new length of a row,
100 ms and more of a step. Float32 is multiplied by another library, which does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hone.models.attention import CONTINUES
from hone.models.beginnings import Joined, may_move

LEAST, STEPS = 32, 32
"""Lengths are multiples of LEAST, and of so large a power of two that there are at most STEPS up to twice a length."""


def filled(model: nn.Module, base: Any, batch: Mapping[str, Any], once: Joined | None) -> Joined | None:
    """What is run for a batch (`once`, or the batch itself), with a segment that nobody looks at behind it; `once` as
    it is where that changes nothing, and where something hangs on how many tokens are run."""
    told = batch if once is None else once.batch
    borders = told.get("cu_seqlens")
    if borders is None or base.get_input_embeddings().weight.dtype != torch.bfloat16:
        return once
    length = int(borders[-1])
    missing = round_length(length) - length
    if not missing or not may_move(model, base, batch):
        return once
    where = torch.arange(length) if once is None else once.where
    return Joined(_longer(told, missing, length), where)


def round_length(length: int) -> int:
    """The least length of the few that is no less."""
    step = max(LEAST, (1 << max(length - 1, 0).bit_length()) // (2 * STEPS))
    return -(-length // step) * step


def _longer(batch: Mapping[str, Tensor], missing: int, length: int) -> dict[str, Tensor]:
    ids, places, borders = batch["input_ids"], batch["position_ids"], batch["cu_seqlens"]
    longer = {
        "input_ids": torch.cat([ids, ids.new_zeros(1, missing)], 1),
        "position_ids": torch.cat([places, torch.arange(missing, dtype=places.dtype)[None]], 1),
        "cu_seqlens": torch.cat([borders, borders.new_tensor([length + missing])]),
    }
    if CONTINUES in batch:
        longer[CONTINUES] = torch.cat([batch[CONTINUES], batch[CONTINUES].new_tensor([-1])])
    return longer
