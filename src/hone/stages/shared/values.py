"""What stages with a value head share: where its file lies, and the values of the states that answers go through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hone.errors import ModelError
from hone.models.label_logprobs import label_logprobs
from hone.models.label_states import label_states
from hone.models.value_head import value_head
from hone.stages.shared.reference import Materials
from hone.stages.shared.scores import row_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Valued:
    """Of label tokens [N], in the order of segments: the log-probability, and the value of the state before it; and how
    many each segment has [S]."""

    logprobs: Tensor
    values: Tensor
    counts: Tensor


def valued_rows(model: nn.Module, batch: Mapping[str, Any]) -> Valued:
    """One forward over a flattened batch. Nothing is hidden from the head, so that the same state has one value."""
    row = row_of(batch)
    states, head = label_states(model, row), value_head(model)
    assert head is not None, "the model has no value head"
    if states.head is None:
        raise ModelError.one(
            "VALUE-STATES", "the states behind this architecture's logits cannot be had", type(model).__name__,
            "train it with stage grpo, which needs no value head",
        )  # fmt: skip
    logprobs, _ = label_logprobs(states)
    counts = torch.bincount(states.segments, minlength=len(row["cu_seqlens"]) - 1)
    return Valued(logprobs, head(states.hidden), counts)


def saved_beside(materials: Materials) -> Path | None:
    """Where the value head of the model lies that training begins with."""
    from hone.models.adapters import locate_adapter
    from hone.models.source import find_source

    section = materials.model
    if section.adapter_name_or_path:
        return locate_adapter(section.adapter_name_or_path[-1], section)
    folder = find_source(section).path
    return folder if folder.is_dir() else None
