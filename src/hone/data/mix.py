"""Which examples of which set, in which order: sampling, mixing several sets, and splitting off an evaluation set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hone.errors import RecipeError

Numbers = NDArray[np.int64]


def sampled(count: int, wanted: int | None, *, seed: int) -> Numbers:
    """`wanted` of `count` examples, by chance; where there are too few, some come more than once."""
    if wanted is None:
        return np.arange(count)
    chance = np.random.default_rng(seed)
    order = chance.permutation(count)[:wanted]
    return np.concatenate([order, chance.integers(count, size=max(wanted - count, 0))]).astype(np.int64)


def mixed(counts: Sequence[int], strategy: str, *, probabilities: Sequence[float] = (), seed: int = 0) -> Numbers:
    """The order of all examples of several sets, numbered through the sets one after the other.

    `concat`: set after set. `interleave_under`: in turns until a set is used up. `interleave_over`: in turns until all
    are, beginning the short ones again. `interleave_once`: in turns, every example once.
    """
    starts = np.cumsum([0, *counts[:-1]])
    if strategy == "concat" or len(counts) == 1:
        return np.arange(sum(counts))
    if probabilities and len(probabilities) != len(counts):
        what = f"{len(probabilities)} shares for {len(counts)} data sets"
        raise RecipeError.one("CFG-VALUE", what, "interleave_probs", "give one for each data set")
    turns = _by_chance(counts, strategy, probabilities, seed) if probabilities else _by_turns(counts, strategy)
    seen = np.zeros(len(counts), dtype=np.int64)
    order = np.empty(len(turns), dtype=np.int64)
    for place, chosen in enumerate(turns):
        order[place] = starts[chosen] + seen[chosen] % counts[chosen]
        seen[chosen] += 1
    return order


def _by_turns(counts: Sequence[int], strategy: str) -> list[int]:
    rounds = min(counts) if strategy == "interleave_under" else max(counts)
    once = strategy == "interleave_once"
    return [
        chosen
        for number in range(rounds)
        for chosen, count in enumerate(counts)
        if not once or number < count
    ]  # fmt: skip


def _by_chance(counts: Sequence[int], strategy: str, probabilities: Sequence[float], seed: int) -> list[int]:
    chance = np.random.default_rng(seed)
    shares = np.asarray(probabilities, dtype=np.float64)
    left = np.array(counts)
    turns: list[int] = []
    while not _finished(left, strategy):
        open_shares = np.where(left > 0, shares, 0) if strategy == "interleave_once" else shares
        if open_shares.sum() == 0:
            break
        chosen = int(chance.choice(len(counts), p=open_shares / open_shares.sum()))
        turns.append(chosen)
        left[chosen] -= 1
    return turns


def _finished(left: Numbers, strategy: str) -> bool:
    return bool((left <= 0).any() if strategy == "interleave_under" else (left <= 0).all())


def split(count: int, val_size: float, *, seed: int) -> tuple[Numbers, Numbers]:
    """(training, evaluation) numbers: `val_size` of them, or that share, drawn by chance; both stay in order."""
    wanted = int(val_size) if val_size >= 1 else max(round(count * val_size), 1)
    if wanted >= count:
        what = f"val_size takes {wanted} of {count} examples and leaves none to train on"
        raise RecipeError.one("CFG-VALUE", what, "val_size", f"at most {count - 1}, or a share below 1")
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[wanted:]), np.sort(order[:wanted])
