"""The pictures of a batch: which of them belong to which of its segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hone.models.parts import parts_of

if TYPE_CHECKING:
    from torch import Tensor, nn

COUNTS = "media_of_segment"
"""The key of a batch that says how many pictures each segment has, int64 [S]; not an argument of the model."""
GRIDS = "image_grid_thw"
"""Of models whose pictures have grids of patches: time, rows, columns [pictures, 3]; each patch is a row of pixels."""
PIXELS = "pixel_values"
KEYS = (COUNTS, GRIDS, PIXELS)
"""What of a batch is of pictures."""


def between(batch: Mapping[str, Any], first: int, last: int) -> dict[str, Tensor]:
    """The pictures of segments `first` to `last` (not included), as a batch of these has them; {} for text alone."""
    counts: Tensor | None = batch.get(COUNTS)
    if counts is None:
        return {}
    made: dict[str, Tensor] = {COUNTS: counts[first:last]}
    start, stop = int(counts[:first].sum()), int(counts[:last].sum())
    if start == stop:
        return made
    if GRIDS not in batch:
        return made | {PIXELS: batch[PIXELS][start:stop]}
    grids: Tensor = batch[GRIDS]
    patches = grids.prod(-1)
    begin, end = int(patches[:start].sum()), int(patches[:stop].sum())
    return made | {PIXELS: batch[PIXELS][begin:end], GRIDS: grids[start:stop]}


def of_segments(batch: Mapping[str, Any], segments: Sequence[int]) -> dict[str, Tensor]:
    """The pictures of some segments, as a batch of these, in this order, has them; {} for text alone."""
    import torch

    parts = [between(batch, one, one + 1) for one in segments]
    held = {name: [part[name] for part in parts if name in part] for name in KEYS}
    return {name: torch.cat(found) for name, found in held.items() if found}


def anchored(model: nn.Module, total: Tensor, batch: Mapping[str, Any]) -> Tensor:
    """The loss of a batch. Where it shows nothing to a model whose seeing parts learn, these are in it times zero:
    their gradient is zero and not missing, for whoever waits for it (other processes, the audit, an optimizer)."""
    if COUNTS not in batch or PIXELS in batch or not model.training:
        return total
    while not hasattr(model, "get_output_embeddings") and hasattr(model, "module"):
        model = model.module  # what wraps it for several processes
    parts = parts_of(model)
    weights = {
        id(weight): weight
        for name in (*parts["tower"], *parts["projector"])
        for weight in model.get_submodule(name).parameters()
        if weight.requires_grad
    }
    return total + sum(weight.flatten()[0] * 0 for weight in weights.values()) if weights else total
