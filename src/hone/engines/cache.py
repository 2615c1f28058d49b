"""A key-value cache with room to grow: a step writes its own row and copies nothing else."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

GROWTH = 256
"""How many positions are added at once, at the least."""


class RoomyLayer(DynamicLayer):
    """A dynamic layer whose keys and values are views into larger buffers of shape [batch, heads, capacity, width]."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.filled = 0
        self.room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append along the third dimension; returns everything there is now."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.filled, self.filled + key_states.shape[-2]
        if self.room is None or end > self.room[0].shape[-2]:
            self.room = self._grown(key_states, start, end), self._grown(value_states, start, end, values=True)
        self.room[0][..., start:end, :] = key_states
        self.room[1][..., start:end, :] = value_states
        self.filled = end
        self.keys, self.values = self.room[0][..., :end, :], self.room[1][..., :end, :]
        return self.keys, self.values

    def _grown(self, states: Tensor, kept: int, needed: int, *, values: bool = False) -> Tensor:
        shape = list(states.shape)
        shape[-2] = needed + max(GROWTH, needed // 2)
        buffer = states.new_empty(shape)
        if kept:
            buffer[..., :kept, :] = (self.values if values else self.keys)[..., :kept, :]
        return buffer


def roomy_cache(config: Any) -> DynamicCache:
    """The cache that the model's own `generate` would use, with its plainly growing layers made roomy.

    Layers of another kind (sliding windows, recurrent states) stay what they are.
    """
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if getattr(cache, "layer_class_to_replicate", None) is DynamicLayer:
        cache.layer_class_to_replicate = RoomyLayer
    return cache


def whole_cache(config: Any) -> DynamicCache | None:
    """A cache whose layers all keep everything, sliding ones too (masks do the sliding): what can stand in a joint
    cache. None for a model with layers of another kind, such as recurrent states."""
    cache = roomy_cache(config)
    if not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        return None
    cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache
