"""A better and a worse answer as a preference loss sees them: log-probabilities under the policy and a reference."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Strength:
    """`beta`: how closely the policy is held to the reference. `smoothing`: the share of pairs taken to be the wrong
    way round (cDPO). `gamma`: SimPO's margin."""

    beta: float = 0.1
    smoothing: float = 0.0
    gamma: float = 0.5


@dataclass(frozen=True)
class Pairs:
    """Log-probabilities, in nats, of both answers of each pair [pairs]: the sums over an answer's tokens, or means
    where the loss asks for these. Without a reference, its two are zeros."""

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor

    @property
    def chosen_ratios(self) -> Tensor:
        """How much likelier the better answer is than under the reference, in nats."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_ratios(self) -> Tensor:
        """The same for the worse answer."""
        return self.rejected - self.reference_rejected

    @property
    def margins(self) -> Tensor:
        """By how much the policy prefers the better answer more than the reference does, in nats."""
        return self.chosen_ratios - self.rejected_ratios
