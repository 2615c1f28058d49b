"""Token accuracy: how often the likeliest token is the label, for each example, without ever holding all logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hone.models.label_states import LabelStates

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 128


@torch.no_grad()
def accuracy(states: LabelStates) -> tuple[Tensor, int]:
    """The sum of each segment's share of right tokens, and the number of segments with a label."""
    pieces = [slice(start, start + CHUNK) for start in range(0, len(states.targets), CHUNK)]
    guesses = [states.logits(states.hidden[piece]).argmax(-1) for piece in pieces]
    right = (torch.cat(guesses) == states.targets).float() if guesses else states.hidden.new_zeros(0)
    asked = torch.bincount(states.segments)
    hit = torch.bincount(states.segments, weights=right)
    held = asked > 0
    return (hit[held] / asked[held]).sum(), int(held.sum())
