"""What all layers of a step of many requests share: where its tokens go, what each may see, which adapter it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from hone.engines.lora import Lora
from hone.engines.product import product
from hone.engines.slots import Slots
from hone.models.native import decoding
from hone.models.segments import Rules
from hone.models.speed import pointwise
from hone.models.speed.block import Block, Norm
from hone.models.speed.lowrank import Frozen

if TYPE_CHECKING:
    from hone.engines.decoder import Decoder, Place


@dataclass(frozen=True)
class Part:
    """Tokens of one request in a step: so many, from position `start` on, in its slot."""

    slot: int
    start: int
    ids: Sequence[int]
    lora: Lora | None = None

    @property
    def end(self) -> int:
        """The position after the last one."""
        return self.start + len(self.ids)


class Plan:
    """What all layers of a step share: where tokens go, what each may see."""

    def __init__(self, singles: Sequence[Part], pieces: Sequence[Part], slots: Slots, decoder: Decoder) -> None:
        parts = [*singles, *pieces]
        self.singles, self.pieces = singles, pieces
        self.ids = torch.tensor([token for part in parts for token in part.ids])
        positions = torch.tensor([place for part in parts for place in range(part.start, part.end)])
        rows = torch.tensor([part.slot for part in parts for _ in part.ids])
        self.places = rows * slots.columns + positions
        self.cosine, self.sine = decoder.turned(positions)
        self.lasts = torch.tensor([len(part.ids) for part in parts]).cumsum(0) - 1
        self.key_heads, self.group = decoder.shape.key_heads, decoder.shape.heads // decoder.shape.key_heads
        self.ends, self.slots = positions + 1, rows
        self.of_singles = rows[: len(singles)], self.ends[: len(singles)]
        self.native = decoding.available(decoder.dtype)
        self.rows = max((part.slot for part in singles), default=-1) + 1
        self.columns = max((part.end for part in singles), default=0)
        in_order = [part.slot for part in singles] == list(range(len(singles)))
        self.where = None if in_order else rows[: len(singles)]
        self.masks: dict[int | None, list[Any]] = {}
        self.packed = decoder.packed
        self.mix = decoder.mixer.mix([part.lora for part in parts for _ in part.ids])
        self.mix_of_lasts = None if self.mix is None else decoder.mixer.mix([part.lora for part in parts])

    def product(self, place: Place, source: Tensor, frozen: Frozen) -> Tensor:
        """source [T, in] through a fused layer, with what each token's adapter adds: [T, out]."""
        output = product(source, frozen.weight, frozen.bias, self.packed[place])
        return output if self.mix is None else self.mix.add(place, source, output)

    def of_lasts(self, place: Place, source: Tensor, output: Tensor) -> Tensor:
        """The same for the last token of each request alone, whose output is there."""
        return output if self.mix_of_lasts is None else self.mix_of_lasts.add(place, source, output)

    def settle(self, fused: Tensor, buffer: Tensor, block: Block) -> Tensor:
        """fused [T, (heads + 2 key heads) * width] → query [T, heads, width], turned; keys and values are kept."""
        shape, norms = block.shape, (block.query_norm, block.key_norm)
        if self.native:
            both = [(None, 0.0) if norm is None else (norm.weight, norm.epsilon) for norm in norms]
            heads = decoding.Heads(shape.heads, shape.key_heads, shape.width, *both)
            return decoding.settle(fused, (self.cosine, self.sine), self.places, buffer, heads)
        heads = fused.view(len(fused), -1, shape.width)
        turned = heads[:, : shape.heads + shape.key_heads]
        if block.query_norm is not None and block.key_norm is not None:
            query, keys = turned.tensor_split([shape.heads], 1)
            turned = torch.cat([normed(query, block.query_norm), normed(keys, block.key_norm)], 1)
        swapped = turned.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
        turned = torch.addcmul(turned * self.cosine, swapped, self.sine)
        keys_values = torch.cat([turned[:, shape.heads :], heads[:, shape.heads + shape.key_heads :]], 1)
        buffer.view(-1, *buffer.shape[2:]).index_copy_(0, self.places, keys_values)
        return turned[:, : shape.heads]

    def attend(self, query: Tensor, buffer: Tensor, block: Block) -> Tensor:
        """query [T, heads, width] → [T, heads * width]: each request sees its own slot, up to its own place."""
        window, scale = block.shape.rules.window, block.shape.rules.scale
        if window not in self.masks:
            self.masks[window] = self._masks(window, query.dtype)
        masks = self.masks[window]
        found = [self._singles(query[: len(self.singles)], buffer, block.shape.rules, masks[0])] if self.singles else []
        start = len(self.singles)
        for part, mask in zip(self.pieces, masks[1:], strict=True):
            found.append(self._piece(query[start : start + len(part.ids)], buffer, part, mask, scale))
            start += len(part.ids)
        return found[0] if len(found) == 1 else torch.cat(found)

    def _singles(self, query: Tensor, buffer: Tensor, rules: Rules, mask: Tensor | None) -> Tensor:
        """All rows in one product; the query heads that share a key head stand as its rows."""
        if self.native:
            return decoding.attend(query, buffer, *self.of_singles, rules.window, rules.scale)
        count, _, width = query.shape
        if self.where is not None:
            query = query.new_zeros(self.rows, *query.shape[1:]).index_copy_(0, self.where, query)
        query = query.reshape(-1, self.key_heads, self.group, width)
        keys, values = self._of(buffer[: self.rows, : self.columns])
        out = functional.scaled_dot_product_attention(query, keys, values, mask, scale=rules.scale)
        if self.where is not None:
            out = out[self.where]
        return out.reshape(count, -1)

    def _piece(self, query: Tensor, buffer: Tensor, part: Part, mask: Tensor, scale: float) -> Tensor:
        count, _, width = query.shape
        query = query.view(count, self.key_heads, self.group, width).permute(1, 2, 0, 3).flatten(1, 2)[None]
        keys, values = self._of(buffer[part.slot : part.slot + 1, : part.end])
        out = functional.scaled_dot_product_attention(query, keys, values, mask, scale=scale)
        return out.view(self.key_heads, self.group, count, width).permute(2, 0, 1, 3).reshape(count, -1)

    def _of(self, both: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = both.transpose(1, 2).chunk(2, 1)
        return keys, values

    def _masks(self, window: int | None, dtype: torch.dtype) -> list[Any]:
        """For the singles [rows, 1, 1, columns] (None: all see all), then for each piece [group * tokens, columns]."""
        return [
            self._mask_of_singles(window, dtype),
            *(self._mask_of(torch.arange(part.start, part.end), part.end, window, dtype) for part in self.pieces),
        ]

    def _mask_of_singles(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        ends = {part.end for part in self.singles}
        if (
            self.native
            or not ends
            or (len(ends) == 1 and self.where is None and (window is None or max(ends) <= window))
        ):
            return None
        seen = torch.zeros(self.rows, dtype=torch.long)
        seen[[part.slot for part in self.singles]] = torch.tensor([part.start for part in self.singles])
        allowed = _allowed(seen, self.columns, window)
        return _additive(allowed, dtype)[:, None, None].expand(-1, -1, self.group, -1)

    def _mask_of(self, positions: Tensor, columns: int, window: int | None, dtype: torch.dtype) -> Tensor:
        return _additive(_allowed(positions, columns, window), dtype).repeat(self.group, 1)


def normed(states: Tensor, norm: Norm) -> Tensor:
    """The RMS norm of states [T, H]."""
    return pointwise.norm(states, norm.weight, norm.epsilon)


def _allowed(positions: Tensor, columns: int, window: int | None) -> Tensor:
    """[queries, columns]: up to the query's own place, within the window."""
    distance = positions[:, None] - torch.arange(columns)
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, -torch.inf)
