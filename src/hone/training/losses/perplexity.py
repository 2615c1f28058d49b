"""Perplexity: what a mean cross-entropy means, in tokens to choose from."""

from __future__ import annotations

import math


def perplexity(loss: float) -> float:
    """exp(loss) of a mean cross-entropy in nats; infinite where that overflows."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
