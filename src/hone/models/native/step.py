"""All blocks of a step of many requests in one call of machine code (`step.c`), in float32."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hone.models.native.calls import call
from hone.models.native.decoding import NO_WINDOW
from hone.models.native.panels import Panels

PRODUCTS = 4
"""Of a block: entrance, exit, gate and up, down."""


class _Weight(ctypes.Structure):
    _fields_ = (
        ("panels", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("inputs", ctypes.c_long),
        ("outputs", ctypes.c_long),
        ("half", ctypes.c_long),
    )


class _Added(ctypes.Structure):
    _fields_ = (("down", ctypes.c_void_p), ("up", ctypes.c_void_p), ("bounds", ctypes.c_void_p))


class _Block(ctypes.Structure):
    _fields_ = (
        ("norms", ctypes.c_void_p * 4),
        ("products", _Weight * PRODUCTS),
        ("window", ctypes.c_long),
        ("epsilons", ctypes.c_float * 4),
        ("scale", ctypes.c_float),
    )


@dataclass(frozen=True)
class Layer:
    """A block: its norms (before attention, before the gate, of a head's query and key: weight or None, epsilon), its
    four products (panels, bias), how far back a token sees (None: all the way), and what scores are multiplied by."""

    norms: Sequence[tuple[Tensor | None, float]]
    products: Sequence[tuple[Panels, Tensor | None]]
    window: int | None
    scale: float


@dataclass(frozen=True)
class Sizes:
    """Numbers of a state, query heads, key heads, the width of a head, numbers of a gate."""

    hidden: int
    heads: int
    keys: int
    width: int
    inner: int

    def room(self, columns: int) -> int:
        """What a token's way through a block takes, with so many columns of adapters."""
        return self.hidden + (3 * self.heads + 2 * self.keys) * self.width + 3 * self.inner + columns


@dataclass(frozen=True)
class Where:
    """Of each token: cosine and sine (with the sign of its half) [T, 1, D], its place in the buffer (slot times columns
    plus column), its slot, and the column after its own."""

    turn: tuple[Tensor, Tensor]
    places: Tensor
    slots: Tensor
    ends: Tensor


class Adapters:
    """What adapters add at each product, four for a block: down [R, in], up [out, R] and the rank of each adapter, or
    None where no adapter has anything."""

    def __init__(self, products: Sequence[tuple[Tensor, Tensor, Sequence[int]] | None]) -> None:
        self.table = (_Added * len(products))()
        self.kept: list[Tensor] = []
        self.columns = 0
        for place, found in enumerate(products):
            if found is not None:
                down, up, ranks = found
                bounds = torch.tensor([0, *ranks]).cumsum(0).to(torch.int32)
                three = down.float().contiguous(), up.float().t().contiguous(), bounds
                self.kept += three
                self.table[place] = _Added(*(one.data_ptr() for one in three))
                self.columns = max(self.columns, *ranks)


class Step:
    """The blocks of a model whose weights lie in panels."""

    def __init__(self, layers: Sequence[Layer], sizes: Sizes) -> None:
        self.layers, self.sizes = layers, sizes  # kept, so that what the table points at stays
        self.table = (_Block * len(layers))(*map(_block, layers))

    def __call__(
        self, states: Tensor, where: Where, buffers: Sequence[Tensor], more: Adapters | None, owners: Tensor | None
    ) -> Tensor:
        """states [T, H] after all blocks, in place; keys and values are written into the buffers, one for each block.

        `owners` [T]: which of the adapters `more` a token has, -1 for none.
        """
        tokens, columns, narrow = len(states), buffers[0].shape[1], more.columns if more else 0
        if len(buffers) != len(self.layers) or not all(one.is_contiguous() for one in buffers):
            raise RuntimeError("a step was given buffers that are not those of its blocks")
        pointers = (ctypes.c_void_p * len(buffers))(*(one.data_ptr() for one in buffers))
        room = states.new_empty(tokens * self.sizes.room(narrow))
        scores = states.new_empty(torch.get_num_threads() * columns)
        sizes = self.sizes
        call(
            "blocks",
            states.dtype,
            *(ctypes.addressof(self.table), ctypes.addressof(pointers), ctypes.addressof(more.table) if more else 0),
            *(0 if owners is None else owners, *where.turn, where.places, where.slots, where.ends),
            *(states, room, scores, len(self.layers), tokens, sizes.hidden, sizes.heads, sizes.keys, sizes.width),
            *(sizes.inner, columns, narrow),
        )
        return states


def _block(layer: Layer) -> _Block:
    made = _Block(window=NO_WINDOW if layer.window is None else layer.window, scale=layer.scale)
    for place, (weight, epsilon) in enumerate(layer.norms):
        made.norms[place] = _address(weight)
        made.epsilons[place] = epsilon
    for place, (panels, bias) in enumerate(layer.products):
        half = panels.numbers.dtype == torch.bfloat16
        made.products[place] = _Weight(
            _address(panels.numbers), _address(bias), panels.inputs, panels.outputs, int(half)
        )
    return made


def _address(tensor: Tensor | None) -> int | None:
    if tensor is not None and not tensor.is_contiguous():
        raise RuntimeError("a step was given a tensor with gaps")
    return None if tensor is None else tensor.data_ptr()
