"""The forward of known architectures by hand: tokens of many requests in one row, a few operations a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hone.engines.lora import Factors, Lora
from hone.engines.memory import free_memory
from hone.engines.mixing import Mix, Mixer, Stacks
from hone.engines.planned import Part, Plan, normed
from hone.engines.product import Packed, pack, product
from hone.engines.slots import Slots
from hone.models.native import decoding
from hone.models.native.panels import Panels
from hone.models.native.step import PRODUCTS, Adapters, Layer, Sizes, Step, Where
from hone.models.speed import pointwise
from hone.models.speed.block import Block, Norm
from hone.models.speed.lowrank import Frozen, Update, stack
from hone.models.speed.recognize import NotUnderstood, base_linear, check, groups, understood

STILL = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions that are the same however long the text grows."""


Place = tuple[int, int]
"""A fused product: which block, and which of its four (entrance, exit, gate and up, down)."""
HEAD: Place = (-1, 0)


NEAR = 256
"""Prompts that are read up to such a place at most go through machine code like answers do, token by token; for others
products of attention over many tokens at once are faster."""
SPARE = 8
"""A second copy of the weights may take one part in so many of the memory that is free."""


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
        self.shape, self.dtype = shape, self.embedding.dtype
        self.turns = torch.zeros(2, 0, 1, shape.width)
        self.places = places_of(model)
        self.mixer = Mixer(self.fitted)
        self.packed = self._packed()
        self.step = self._step()
        self.adapters: tuple[Stacks, Adapters] | None = None
        """The adapters of the last step that had any, as machine code takes them."""

    def _packed(self) -> Mapping[Place, Packed]:
        """Weights once more in an order that is read faster for few rows, where memory is plenty."""
        places = [HEAD, *((number, which) for number in range(len(self.blocks)) for which in range(4))]
        weights = [self._frozen(place).weight for place in places]
        return dict(zip(places, pack(weights, free_memory(self.embedding.device) // SPARE), strict=True))

    def _step(self) -> Step | None:
        """All blocks as one call of machine code, where there is such."""
        if not decoding.available(self.dtype):
            return None
        layers = []
        for number, block in enumerate(self.blocks):
            frozen = (block.entrance, block.exit, block.gate_up, block.down)
            packed = [self.packed[number, which] for which in range(PRODUCTS)]
            products = [(p, f.bias) for p, f in zip(packed, frozen, strict=True) if isinstance(p, Panels)]
            if len(products) < PRODUCTS:
                return None
            norms = (block.before_attention, block.before_mlp, block.query_norm, block.key_norm)
            rules = block.shape.rules
            both = [(None, 0.0) if norm is None else (norm.weight, norm.epsilon) for norm in norms]
            layers.append(Layer(both, products, rules.window, rules.scale))
        shape, inner = self.shape, self.blocks[0].down.weight.shape[1]
        return Step(layers, Sizes(self.embedding.shape[1], shape.heads, shape.key_heads, shape.width, inner))

    def forget(self, lora: Lora) -> None:
        """Nothing of an adapter is kept that no request has any more."""
        self.mixer.forget(lora)
        self.adapters = None

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
        if self.step is not None and all(part.end <= NEAR for part in pieces):
            where = Where((plan.cosine, plan.sine), plan.places, plan.slots, plan.ends)
            states = self.step(states, where, slots.buffers, *self._adapters(plan.mix, len(states)))
        else:
            for number, buffer in enumerate(slots.buffers):
                states = self._block(states, number, buffer, plan)
        states = normed(states[plan.lasts], self.last)
        return plan.of_lasts(HEAD, states, product(states, self.head.weight, self.head.bias, self.packed[HEAD]))

    def _adapters(self, mix: Mix | None, tokens: int) -> tuple[Adapters | None, Tensor | None]:
        """The adapters of a step, and which of them each token has."""
        if mix is None:
            if not self.mixer.stacked:  # nobody has one any more
                self.adapters = None
            return None, None
        if self.adapters is None or self.adapters[0] is not mix.stacks:
            places = [(number, which) for number in range(len(self.blocks)) for which in range(PRODUCTS)]
            found = [mix.stacks.get(place) for place in places]
            made = Adapters([None if one is None else (one[0].down, one[0].up, one[1]) for one in found])
            self.adapters = mix.stacks, made
        return self.adapters[1], torch.zeros(tokens, dtype=torch.long) if mix.owners is None else mix.owners

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
        fused = plan.product((number, 0), normed(states, block.before_attention), block.entrance)
        attended = plan.attend(plan.settle(fused, buffer, block), buffer, block)
        mixed = plan.product((number, 1), attended, block.exit).add_(states)
        both = plan.product((number, 2), normed(mixed, block.before_mlp), block.gate_up)
        return plan.product((number, 3), pointwise.gated(both), block.down).add_(mixed)


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
