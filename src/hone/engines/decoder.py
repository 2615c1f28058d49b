"""The forward of known architectures by hand: tokens of many requests in one row, a few operations a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hone.engines.lora import Factors, Lora
from hone.engines.memory import free_memory
from hone.engines.mixing import Mixer
from hone.engines.product import Packed, pack, product
from hone.engines.slots import Slots
from hone.models.native import decoding
from hone.models.segments import Rules
from hone.models.speed import pointwise
from hone.models.speed.block import Block, Norm
from hone.models.speed.lowrank import Frozen, Update, stack
from hone.models.speed.recognize import NotUnderstood, base_linear, check, groups, understood

STILL = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions that are the same however long the text grows."""


Place = tuple[int, int]
"""A fused product: which block, and which of its four (entrance, exit, gate and up, down)."""
HEAD: Place = (-1, 0)


SPARE = 8
"""A second copy of the weights may take one part in so many of the memory that is free."""


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


class Decoder:
    """Blocks, embedding and head of a model on a processor. Raises NotUnderstood for what it does not know."""

    def __init__(self, model: Any) -> None:
        body = _body(model)
        self.embedding, self.rotary, self.head = body.embed_tokens.weight.detach(), body.rotary_emb, model.lm_head
        self.last = Norm(body.norm.weight.detach(), body.norm.variance_epsilon)
        self.blocks: list[Block] = [understood(layer) for layer in body.layers]
        shape = self.blocks[0].shape
        if any(block.shape.rules.softcap or block.shape.width != shape.width for block in self.blocks):
            raise NotUnderstood("its blocks differ")
        self.windows = {block.shape.rules.window for block in self.blocks}
        self.shape, self.dtype = shape, self.embedding.dtype
        self.turns = torch.zeros(2, 0, 1, shape.width)
        self.places = places_of(model)
        self.mixer = Mixer(self.fitted)
        self.packed = self._packed()

    def _packed(self) -> Mapping[Place, Packed]:
        """Weights once more in an order that is read faster for few rows, where memory is plenty."""
        places = [HEAD, *((number, which) for number in range(len(self.blocks)) for which in range(4))]
        weights = [self._frozen(place).weight for place in places]
        return dict(zip(places, pack(weights, free_memory(self.embedding.device) // SPARE), strict=True))

    def fitted(self, lora: Lora) -> Mapping[Place, Factors]:
        """An adapter's factors by fused product. Raises NotUnderstood for a layer that is none of them."""
        updates: dict[Place, list[Update]] = {}
        for name, pair in lora.factors.items():
            if name not in self.places:
                raise NotUnderstood(f"{name} is not a product of the forward by hand")
            place, start = self.places[name]
            updates.setdefault(place, []).append(Update(pair.down, pair.up, 1.0, start, start + len(pair.up)))
        found = {place: stack(several, self._frozen(place)) for place, several in updates.items()}
        return {place: Factors(both.down, both.up) for place, both in found.items() if both is not None}

    def _frozen(self, place: Place) -> Frozen:
        if place == HEAD:
            return Frozen(self.head.weight, None)
        block = self.blocks[place[0]]
        return (block.entrance, block.exit, block.gate_up, block.down)[place[1]]

    def slots(self) -> Slots:
        """An empty cache that fits."""
        return Slots(len(self.blocks), (2 * self.shape.key_heads, self.shape.width), self.dtype)

    def __call__(self, singles: Sequence[Part], pieces: Sequence[Part], slots: Slots) -> Tensor:
        """One token each of `singles`, several of `pieces`: logits [requests, vocabulary] after the last of each."""
        parts = [*singles, *pieces]
        slots.make_room(0, max(part.end for part in parts))
        plan = Plan(singles, pieces, slots, self)
        states = self.embedding[plan.ids]
        for number, buffer in enumerate(slots.buffers):
            states = self._block(states, number, buffer, plan)
        states = _norm(states[plan.lasts], self.last)
        return plan.of_lasts(HEAD, states, product(states, self.head.weight, self.head.bias, self.packed[HEAD]))

    def turned(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine, and sine with the sign of its half, of each position: [T, 1, width]."""
        if int(positions.max()) >= self.turns.shape[1]:
            places = torch.arange(2 * int(positions.max()) + 256)[None]
            cosine, sine = self.rotary(self.embedding[:1, None], places)
            sine = torch.cat([-sine[..., : self.shape.width // 2], sine[..., self.shape.width // 2 :]], -1)
            self.turns = torch.stack([cosine[0], sine[0]])[:, :, None].to(self.dtype)
        return self.turns[0, positions], self.turns[1, positions]

    def _block(self, states: Tensor, number: int, buffer: Tensor, plan: Plan) -> Tensor:
        block = self.blocks[number]
        fused = plan.product((number, 0), _norm(states, block.before_attention), block.entrance)
        attended = plan.attend(plan.settle(fused, buffer, block), buffer, block)
        mixed = plan.product((number, 1), attended, block.exit).add_(states)
        both = plan.product((number, 2), _norm(mixed, block.before_mlp), block.gate_up)
        return plan.product((number, 3), pointwise.gated(both), block.down).add_(mixed)


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
        self.ends = positions[: len(singles)] + 1
        self.slots = rows[: len(singles)]
        self.native = decoding.available(decoder.dtype)
        self.rows = max((part.slot for part in singles), default=-1) + 1
        self.columns = max((part.end for part in singles), default=0)
        in_order = [part.slot for part in singles] == list(range(len(singles)))
        self.where = None if in_order else self.slots
        self.masks = {window: self._masks(window, decoder.dtype) for window in decoder.windows}
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
            normed = _norm(turned[:, : shape.heads], block.query_norm), _norm(turned[:, shape.heads :], block.key_norm)
            turned = torch.cat(normed, 1)
        swapped = turned.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
        turned = torch.addcmul(turned * self.cosine, swapped, self.sine)
        keys_values = torch.cat([turned[:, shape.heads :], heads[:, shape.heads + shape.key_heads :]], 1)
        buffer.view(-1, *buffer.shape[2:]).index_copy_(0, self.places, keys_values)
        return turned[:, : shape.heads]

    def attend(self, query: Tensor, buffer: Tensor, block: Block) -> Tensor:
        """query [T, heads, width] → [T, heads * width]: each request sees its own slot, up to its own place."""
        masks, scale = self.masks[block.shape.rules.window], block.shape.rules.scale
        found = [self._singles(query[: len(self.singles)], buffer, block.shape.rules, masks[0])] if self.singles else []
        start = len(self.singles)
        for part, mask in zip(self.pieces, masks[1:], strict=True):
            found.append(self._piece(query[start : start + len(part.ids)], buffer, part, mask, scale))
            start += len(part.ids)
        return found[0] if len(found) == 1 else torch.cat(found)

    def _singles(self, query: Tensor, buffer: Tensor, rules: Rules, mask: Tensor | None) -> Tensor:
        """All rows in one product; the query heads that share a key head stand as its rows."""
        if self.native:
            return decoding.attend(query, buffer, self.slots, self.ends, rules.window, rules.scale)
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


def places_of(model: Any) -> dict[str, tuple[Place, int]]:
    """By the full name of a layer: the fused product that it is a part of, and its first row there."""
    names = {module: name for name, module in model.named_modules()}
    found = {names[model.lm_head]: (HEAD, 0)}
    for number, layer in enumerate(_body(model).layers):
        for which, group in enumerate(groups(layer)):
            start = 0
            for module in group:
                found[names[module]] = ((number, which), start)
                start += module.out_features
    return found


def _allowed(positions: Tensor, columns: int, window: int | None) -> Tensor:
    """[queries, columns]: up to the query's own place, within the window."""
    distance = positions[:, None] - torch.arange(columns)
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, -torch.inf)


def _norm(states: Tensor, norm: Norm) -> Tensor:
    return pointwise.norm(states, norm.weight, norm.epsilon)


def _body(model: Any) -> Any:
    """The decoder inside a causal model, if all of it is known."""
    body = getattr(model, "model", None)
    layers = getattr(body, "layers", None)
    if body is None or not layers or not all(hasattr(body, name) for name in ("embed_tokens", "rotary_emb", "norm")):
        raise NotUnderstood("it is not built of an embedding, blocks, a norm and a head")
    if type(model.lm_head) is not nn.Linear or type(body.embed_tokens) is not nn.Embedding:
        raise NotUnderstood("its embedding or its head is of a kind that is not known")
    if {p.device.type for p in model.parameters()} != {"cpu"} or len({p.dtype for p in model.parameters()}) > 1:
        raise NotUnderstood("it is not on a processor in one precision")
    if getattr(body.rotary_emb, "rope_type", "default") not in STILL:
        raise NotUnderstood("its rotary positions change with the length")
    for layer in layers:
        check(layer)
        if any(module is not base_linear(module) for group in groups(layer) for module in group):
            raise NotUnderstood("it carries adapters")
    cosine = body.rotary_emb(body.embed_tokens.weight[:1, None], torch.zeros(1, 1, dtype=torch.long))[0]
    if cosine.shape[-1] != layers[0].self_attn.head_dim:
        raise NotUnderstood("its rotary positions turn a part of each head only")
    return body
