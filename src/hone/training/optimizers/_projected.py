"""Matrices seen through a narrow space: from the left, from the right, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hone.errors import ModelError


def refresh(state: dict[str, Any], slope: Tensor, rank: int, side: str) -> None:
    """Choose the space anew by the singular vectors of a gradient [out, in]; kept as `left` [out, r], `right` [r, in].

    `std` takes the side that leaves the smaller matrix, `reverse_std` the other, `full` both.
    """
    left, _, right = torch.linalg.svd(slope.float(), full_matrices=False)
    taken = sides(slope, side)
    if "left" in taken:
        state["left"] = left[:, :rank].to(slope.dtype).contiguous()
    if "right" in taken:
        state["right"] = right[:rank].to(slope.dtype).contiguous()


def sides(slope: Tensor, side: str) -> tuple[str, ...]:
    """Where the space lies for a matrix of this shape."""
    tall = slope.shape[0] >= slope.shape[1]
    named = {"left": ("left",), "right": ("right",), "full": ("left", "right")}
    return named.get(side) or (("right",) if tall == (side == "std") else ("left",))


def project(state: dict[str, Any], slope: Tensor) -> Tensor:
    """[out, in] → [r, in], [out, r] or [r, r]."""
    narrow = state["left"].T @ slope if "left" in state else slope
    return narrow @ state["right"].T if "right" in state else narrow


def unproject(state: dict[str, Any], narrow: Tensor) -> Tensor:
    """Back to [out, in]."""
    wide = state["left"] @ narrow if "left" in state else narrow
    return wide @ state["right"] if "right" in state else wide


def need_targets(found: Sequence[Tensor], targets: Sequence[str], key: str) -> None:
    """Raise ModelError when no learning matrix is meant."""
    if not found:
        raise ModelError.one(
            "TUNER-TARGET",
            f"no learning matrix is called {', '.join(targets)}",
            key,
            "give `all`, or names such as mlp",
        )
