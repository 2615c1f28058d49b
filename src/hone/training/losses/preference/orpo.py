"""ORPO (Hong et al. 2024): learn the better answer, and raise its odds over the worse one's; no reference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hone.training.losses.pairs import Pairs, Strength

AVERAGED, REFERENCE = True, False


def losses(pairs: Pairs, strength: Strength) -> Tensor:
    """-p + beta * -log s(log odds), for the mean log-probability p of the better answer."""
    parts = measures(pairs)
    return parts["sft_loss"] + strength.beta * parts["odds_ratio_loss"]


def measures(pairs: Pairs) -> Mapping[str, Tensor]:
    """Both parts of the loss."""
    odds = _log_odds(pairs.chosen) - _log_odds(pairs.rejected)
    return {"sft_loss": -pairs.chosen, "odds_ratio_loss": -logsigmoid(odds)}


def _log_odds(logprobs: Tensor) -> Tensor:
    """log(p / (1 - p)), from log p."""
    return logprobs - torch.log1p(-torch.exp(logprobs))
