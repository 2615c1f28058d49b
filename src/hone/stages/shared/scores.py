"""How likely a model finds the answer of each segment: sums of log-probabilities, counts of tokens, mean logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from hone.models.label_logprobs import label_logprobs
from hone.models.label_states import TOKENS, label_states
from hone.models.pictures import KEYS

if TYPE_CHECKING:
    from torch import Tensor, nn

ROW = (*TOKENS, "cu_seqlens", *KEYS)
"""What of a batch is the model's, pictures where there are some."""


@dataclass(frozen=True)
class Scores:
    """Of each segment [S]: the log-probabilities of its label tokens summed (nats, with grad), how many these are, and
    the mean logit over the vocabulary summed over them."""

    sums: Tensor
    counts: Tensor
    logits: Tensor

    @property
    def means(self) -> Tensor:
        """The mean log-probability of a token [S]; 0 where there is none."""
        return self.sums / self.counts.clamp(min=1)


@dataclass(frozen=True)
class Rows:
    """The log-probabilities of label tokens [N], in the order of segments, and how many each segment has [S]."""

    logprobs: Tensor
    logits: Tensor
    counts: Tensor

    def scores(self) -> Scores:
        """Added up by segment."""
        return Scores(self._added(self.logprobs), self.counts, self._added(self.logits))

    def discounted(self, alpha: float) -> Tensor:
        """Sums [S] in which, of each pair of segments, the longer answer's tokens beyond the shorter count `alpha`
        (LD-DPO, Liu et al. 2024)."""
        shared = self.counts.view(-1, 2).amin(-1).repeat_interleave(2)
        starts = (self.counts.cumsum(0) - self.counts).repeat_interleave(self.counts)
        place = torch.arange(len(self.logprobs), device=self.counts.device) - starts
        weights = torch.where(place < shared.repeat_interleave(self.counts), 1.0, alpha)
        return self._added(self.logprobs * weights)

    def _added(self, values: Tensor) -> Tensor:
        return torch.segment_reduce(values, "sum", lengths=self.counts, initial=0)


def row_of(batch: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The flattened row of a batch whose keys begin with `prefix`, as a model is given it."""
    return {name: batch[prefix + name] for name in ROW if prefix + name in batch}


def answer_rows(model: nn.Module, batch: Mapping[str, Any], prefix: str = "") -> Rows:
    """One forward over a flattened batch; the keys of its tensors begin with `prefix`."""
    row = row_of(batch, prefix)
    states = label_states(model, row)
    logprobs, (logits,) = label_logprobs(states, _mean)
    counts = torch.bincount(states.segments, minlength=len(row["cu_seqlens"]) - 1)
    return Rows(logprobs, logits, counts)


def _mean(logits: Tensor) -> Tensor:
    return logits.mean(-1)
