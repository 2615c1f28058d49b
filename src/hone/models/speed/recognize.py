"""Which decoder blocks are understood, and how their layers are read: frozen parts fused, LoRA's parts found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hone.models.segments import Rules
from hone.models.speed.block import Block, Norm, Shape, Updates
from hone.models.speed.lowrank import Frozen, Update

KNOWN = frozenset(
    {
        "LlamaDecoderLayer",
        "MistralDecoderLayer",
        "Qwen2DecoderLayer",
        "Qwen3DecoderLayer",
        "Phi3DecoderLayer",
    }
)
"""Blocks of the form: norm, attention with rotary positions, add; norm, gated SiLU, add."""


class NotUnderstood(Exception):  # noqa: N818  a reason, not a fault: the plain path is taken
    """Why a block is left as it is; the text is shown to the user."""


def groups(layer: nn.Module) -> tuple[list[nn.Module], ...]:
    """The projections that share an input, in the order of their rows: entrance, exit, gate and up, down."""
    attention, mlp = layer.self_attn, layer.mlp
    fused = hasattr(attention, "qkv_proj")
    entrance = [attention.qkv_proj] if fused else [attention.q_proj, attention.k_proj, attention.v_proj]
    gate_up = [mlp.gate_up_proj] if hasattr(mlp, "gate_up_proj") else [mlp.gate_proj, mlp.up_proj]
    return entrance, [attention.o_proj], gate_up, [mlp.down_proj]


def check(layer: nn.Module) -> None:
    """Raises NotUnderstood unless this block can be run by hand as it is now."""
    if type(layer).__name__ not in KNOWN:
        raise NotUnderstood(f"blocks of the kind {type(layer).__name__} are not known")
    if type(getattr(layer.mlp, "act_fn", None) or layer.mlp.activation_fn).__name__ not in ("SiLU", "SiLUActivation"):
        raise NotUnderstood("its activation is not SiLU")
    if any(dropout.p for dropout in layer.modules() if isinstance(dropout, nn.Dropout)):
        raise NotUnderstood("dropout is on")
    for module in (module for group in groups(layer) for module in group):
        _check_projection(module)
    learned = [name for name, p in layer.named_parameters() if p.requires_grad and ".lora_" not in name]
    if learned:
        raise NotUnderstood(f"{learned[0]} is learned itself")


def _check_projection(module: nn.Module) -> None:
    linear = base_linear(module)
    if type(linear) is not nn.Linear:
        raise NotUnderstood(f"a projection is a {type(linear).__name__}, not a plain linear layer")
    if module is linear:
        return
    if getattr(module, "lora_variant", None):
        raise NotUnderstood("its LoRA is of a special kind (DoRA ...)")
    if any(getattr(up, "bias", None) is not None for up in module.lora_B.values()):
        raise NotUnderstood("its LoRA has a bias")


def base_linear(module: nn.Module) -> nn.Module:
    """The frozen layer inside PEFT's."""
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module


def understood(layer: nn.Module) -> Block:
    """The frozen parts of a block that passed `check`; its weights become views of fused ones: no memory is added."""
    attention = layer.self_attn
    norms = {name: getattr(attention, name, None) for name in ("q_norm", "k_norm")}
    entrance, leave, gate_up, down = (_fused([base_linear(module) for module in group]) for group in groups(layer))
    return Block(
        shape=_shape(attention),
        before_attention=_norm(layer.input_layernorm),
        before_mlp=_norm(layer.post_attention_layernorm),
        query_norm=None if norms["q_norm"] is None else _norm(norms["q_norm"]),
        key_norm=None if norms["k_norm"] is None else _norm(norms["k_norm"]),
        entrance=entrance,
        exit=leave,
        gate_up=gate_up,
        down=down,
    )


def _shape(attention: nn.Module) -> Shape:
    config = attention.config
    window = getattr(attention, "sliding_window", None)
    if not hasattr(attention, "sliding_window") and type(attention).__name__ in ("MistralAttention", "Phi3Attention"):
        window = getattr(config, "sliding_window", None)
    rules = Rules(attention.scaling, window)
    return Shape(config.num_attention_heads, config.num_key_value_heads, attention.head_dim, rules)


def _norm(module: nn.Module) -> Norm:
    return Norm(module.weight.detach(), module.variance_epsilon)


def _fused(linears: Sequence[Any]) -> Frozen:
    if len(linears) == 1:
        bias = linears[0].bias
        return Frozen(linears[0].weight.detach(), None if bias is None else bias.detach())
    whole = torch.cat([linear.weight.detach() for linear in linears])
    start = 0
    for linear in linears:
        linear.weight.data = whole[start : start + linear.out_features]
        start += linear.out_features
    return Frozen(whole, _fused_bias(linears))


def _fused_bias(linears: Sequence[Any]) -> Tensor | None:
    if all(linear.bias is None for linear in linears):
        return None
    zeros = [linear.weight.new_zeros(linear.out_features) for linear in linears]
    return torch.cat(
        [zero if linear.bias is None else linear.bias for linear, zero in zip(linears, zeros, strict=True)]
    )


def updates_of(layer: nn.Module) -> Updates | None:
    """What LoRA adds now, by fused product; None in a state that is not run by hand (merged, several adapters)."""
    found = [updates for updates in map(_updates, groups(layer)) if updates is not None]
    return Updates(*found) if len(found) == len(Updates._fields) else None


def _updates(group: Sequence[Any]) -> list[Update] | None:
    found: list[Update] = []
    start = 0
    for module in group:
        stop = start + base_linear(module).out_features
        if hasattr(module, "lora_A") and not module.disable_adapters:
            names = [name for name in module.active_adapters if name in module.lora_A]
            if module.merged or len(names) > 1:
                return None
            found += [_update(module, name, start, stop) for name in names]
        start = stop
    return found


def _update(module: Any, name: str, start: int, stop: int) -> Update:
    return Update(module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name], start, stop)
