"""Make a tuned model fast: known blocks run by hand, proven against the plain path before they are used."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from hone.models.attention import CONTINUES, NAME
from hone.models.segments import layout_of
from hone.models.speed.block import Block, BlockFunction, Positions
from hone.models.speed.proof import prove
from hone.models.speed.recognize import NotUnderstood, base_linear, check, groups, understood, updates_of

Kind = tuple[object, ...]
"""What two blocks have in common that differ in the values of their parameters only."""


@dataclass(frozen=True)
class Quickened:
    """How many blocks run by hand, of how many, and in words why the others do not."""

    blocks: int
    of: int
    reasons: tuple[str, ...]


def quicken(model: nn.Module, *, memory: int | None = None) -> Quickened:
    """Let the known blocks of a model, after its tuner is attached, run by hand on a processor. Names and values stay.

    `memory` is how many bytes the kept activations may take (default: half of what is free now); blocks beyond it keep
    only their input and run twice, as gradient checkpointing does. Nothing changes for an unknown architecture, a GPU,
    dropout, or layers whose own weights are learned; `reasons` says which.
    """
    layers = [module for module in model.modules() if _is_block(module)]
    budget = Budget(_free_memory() // 2 if memory is None else memory)
    reasons: dict[str, None] = {}
    kinds: set[Kind] = set()
    done = 0
    for layer in layers:
        reason = _quicken_block(layer, budget, kinds)
        done += not reason
        if reason:
            reasons[reason] = None
    return Quickened(done, len(layers), tuple(reasons) or (() if layers else ("it has no blocks",)))


def _is_block(module: nn.Module) -> bool:
    return hasattr(module, "self_attn") and hasattr(module, "mlp") and hasattr(module, "input_layernorm")


def _quicken_block(layer: Any, budget: Budget, kinds: set[Kind]) -> str:
    """Empty when the block now runs by hand, else why not. `kinds` are those that have been proven."""
    try:
        if next(layer.parameters()).device.type != "cpu":
            raise NotUnderstood("it is not on a processor")
        if layer.self_attn.config._attn_implementation != NAME:
            raise NotUnderstood("its attention does not run by segments")
        check(layer)
        if next(layer.parameters()).dtype != torch.float32 and layer.self_attn.layer_idx == 0:
            _proven(copy.deepcopy(layer).float(), budget, set())
        quick = _proven(layer, budget, kinds)
    except (NotUnderstood, RuntimeError, AttributeError, TypeError, ValueError) as reason:
        return str(reason)
    layer.forward = MethodType(_forward_by_hand, layer)
    layer.__dict__["_hone_quick"] = quick
    layer.gradient_checkpointing = False
    return ""


def _proven(layer: Any, budget: Budget, kinds: set[Kind]) -> Quick:
    """The block by hand, proven unless one that differs in nothing but numbers has been; the first block of a
    half-precision model also in float32: less rounding."""
    quick = Quick(layer, understood(layer), layer.forward, budget)
    kind = _kind(layer, quick.block)
    if kind not in kinds:
        prove(layer, layer.forward, lambda states, arguments: quick(layer, states, arguments))
        kinds.add(kind)
    return quick


def _kind(layer: nn.Module, block: Block) -> Kind:
    """All that may decide how a block computes, apart from the values of its parameters: the modules in it with their
    own forwards and hooks, shapes and formats of their parameters, heads, window and epsilons."""
    modules = tuple(
        (name, type(module), vars(module).get("forward"), bool(module._forward_hooks or module._forward_pre_hooks))
        for name, module in layer.named_modules()
    )
    parameters = tuple((name, p.shape, p.dtype, p.requires_grad) for name, p in layer.named_parameters())
    norms = (block.before_attention, block.before_mlp, block.query_norm, block.key_norm)
    return modules, parameters, block.shape, tuple(norm and norm.epsilon for norm in norms)


@dataclass
class Budget:
    """How much of the memory for activations the blocks of the running forward have taken."""

    allowed: int
    taken: int = 0

    def grants(self, size: int, *, first: bool) -> bool:
        """Whether a block may keep `size` bytes; the first block of a forward starts anew."""
        self.taken = size if first else self.taken + size
        return self.taken <= self.allowed


class Quick:
    """A block's parts and the plain path it came from."""

    def __init__(self, layer: Any, block: Block, plain: Callable[..., Tensor], budget: Budget) -> None:
        self.block, self.plain, self.budget = block, plain, budget
        self.places = [_place(module) for group in groups(layer) for module in group]
        self.first = getattr(layer.self_attn, "layer_idx", 0) == 0

    def applies(self, layer: Any, states: Tensor, arguments: dict[str, Any]) -> bool:
        """Whether this call is one that runs by hand: a flattened row, no cache, weights where they were."""
        return (
            states.shape[0] == 1
            and arguments.get("past_key_values") is None
            and arguments.get("attention_mask") is None
            and arguments.get("cu_seq_lens_q") is not None
            and arguments.get("position_embeddings") is not None
            and self.block.exit.weight.dtype == states.dtype
            and self.places == [_place(module) for group in groups(layer) for module in group]
        )

    def __call__(self, layer: Any, states: Tensor, arguments: dict[str, Any]) -> Tensor | None:
        """The block's answer [1, T, H], or None when LoRA is in a state that is not run by hand."""
        updates = updates_of(layer)
        if updates is None:
            return None
        cosine, sine = (
            table[0].unsqueeze(1).to(states.dtype).contiguous() for table in arguments["position_embeddings"]
        )
        positions = Positions(cosine, sine, layout_of(arguments["cu_seq_lens_q"], arguments.get(CONTINUES)))
        learned = [t for update in itertools.chain(*updates) for t in (update.down, update.up)]
        size = states.shape[1] * self.numbers * states.element_size()
        keep = self.budget.grants(size, first=self.first)
        with torch.autocast(states.device.type, enabled=False):
            return BlockFunction.apply(states[0], self.block, updates, positions, keep, *learned)[None]

    @property
    def numbers(self) -> int:
        """How many numbers a block keeps for a token."""
        block = self.block
        return (
            2 * block.exit.weight.shape[0]
            + block.entrance.weight.shape[0]
            + block.exit.weight.shape[1]
            + block.gate_up.weight.shape[0]
        )


def _place(module: nn.Module) -> int:
    return int(base_linear(module).weight.data_ptr())


def _forward_by_hand(layer: Any, hidden_states: Tensor, *rest: Any, **arguments: Any) -> Tensor:
    quick = layer._hone_quick
    if not rest and quick.applies(layer, hidden_states, arguments):
        answer = quick(layer, hidden_states, arguments)
        if answer is not None:
            return answer
    return quick.plain(hidden_states, *rest, **arguments)


def _free_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
