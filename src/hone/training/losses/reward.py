"""The pairwise loss of a reward model (Bradley and Terry): the better answer should have the higher score."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def reward_losses(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log s(c - r) of each pair [pairs]."""
    return -logsigmoid(chosen - rejected)
