"""Attention inside segments: several rows flattened into one, none of which sees another, without padding or a mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from hone.models.parts import parts_of
from hone.models.segments import Rules, SegmentAttention, layout_of

NAME = "hone_segments"
CONTINUES = "continues"
"""The argument of a forward that tells which segment continues which (`hone.models.segments.Layout`)."""
_flattened: ContextVar[bool] = ContextVar("hone_flattened", default=False)
_proven: WeakKeyDictionary[nn.Module, dict[str, bool]] = WeakKeyDictionary()
_HANDLED = frozenset({"full_attention", "sliding_attention"})
_TEXT = frozenset({"text_config", "llm_config"})
"""Configs of the parts that read and write; parts that see keep their attention, which is not causal."""
_BY_GRID = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen3_vl"})
_PACKING = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", CONTINUES)


def use_packed_attention(model: nn.Module) -> str:
    """Let `model` attend by segments where `cu_seqlens` is given; returns what will be used, in words.

    On a processor: exact batched products for each segment. With flash-attn on a GPU: its variable-length kernel.
    Else the block mask that transformers builds from restarting positions: the same numbers, more work.
    Where none of these keeps segments apart (proven on two tiny ones), `isolates` is false and rows run one by one.
    """
    base = _bare(model)
    for name in parts_of(base)["tower"]:
        base.get_submodule(name).register_forward_pre_hook(_without_packing, with_kwargs=True)
    current = str(getattr(base.config, "_attn_implementation", None) or "sdpa")
    reason = _why_not(base, current)
    if not reason:
        _register()
        before = {name: str(part._attn_implementation) for name, part in _sub_configs(base).items()}
        base.set_attn_implementation({"": NAME, **before, **dict.fromkeys(before.keys() & _TEXT, NAME)})
        if isolates(model):
            return "segments"
        base.set_attn_implementation({"": current, **before})
        reason = "this architecture does not hand segments to its attention"
    if not isolates(model):
        return f"{current}, one row at a time ({reason}; packed rows would see each other)"
    return f"{current}, {'variable lengths' if current.startswith('flash') else 'block mask'} ({reason})"


def _without_packing(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What a part that sees is called with, less the segments of the text, which are not its own."""
    return given, {name: value for name, value in named.items() if name not in _PACKING}


def _sub_configs(base: Any) -> dict[str, Any]:
    """The configs of a model's parts, by name; none for a model of text alone."""
    found = {name: getattr(base.config, name, None) for name in getattr(base.config, "sub_configs", {})}
    return {name: part for name, part in found.items() if part is not None}


def positions_for(model: nn.Module, position_ids: Tensor) -> Tensor:
    """Positions as the model takes them: for one that counts by time, row and column (M-RoPE) plain ones [rows, T]
    become [4, rows, T], those of the text first, from which it learns where segments begin."""
    if position_ids.ndim != 2 or _bare(model).config.model_type not in _BY_GRID:
        return position_ids
    return position_ids[None].expand(4, -1, -1)


def isolates(model: nn.Module) -> bool:
    """Whether segments of a flattened batch cannot see each other in this model as it is set now; probed once."""
    base = _bare(model)
    implementation = str(getattr(base.config, "_attn_implementation", ""))
    known = _proven.setdefault(base, {})
    if implementation not in known:
        known[implementation] = _is_exact(base)
    return known[implementation]


def run_alone(model: nn.Module) -> None:
    """From now on each segment of a batch runs by itself: what running them together is held against."""
    base = _bare(model)
    _proven.setdefault(base, {})[str(getattr(base.config, "_attn_implementation", ""))] = False


def _bare(model: Any) -> Any:
    while not hasattr(model, "get_output_embeddings") and isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def packed_arguments(
    model: nn.Module, cu_seqlens: Tensor | None, continues: Tensor | None = None
) -> Iterator[dict[str, Any]]:
    """What a forward over a flattened batch needs beside ids and positions; cu_seqlens is int32 [S + 1], continues [S]
    (see `hone.models.beginnings`)."""
    implementation = str(getattr(_bare(model).config, "_attn_implementation", ""))
    if cu_seqlens is None or not (implementation == NAME or implementation.startswith("flash")):
        yield {}
        return
    longest = int((cu_seqlens[1:] - cu_seqlens[:-1]).max())
    token = _flattened.set(True)
    try:
        yield {
            "cu_seq_lens_q": cu_seqlens,
            "cu_seq_lens_k": cu_seqlens,
            "max_length_q": longest,
            "max_length_k": longest,
            **({} if continues is None else {CONTINUES: continues}),
        }
    finally:
        _flattened.reset(token)


def _why_not(base: Any, current: str) -> str:
    """Why segments cannot be used for this architecture; empty when they can."""
    if next(base.parameters()).device.type != "cpu" or current.startswith("flash"):
        return "the products by segment are for processors"
    config = base.config.get_text_config()
    if getattr(config, "attention_dropout", 0.0):
        return "attention dropout is on"
    kinds = set(getattr(config, "layer_types", None) or ()) - _HANDLED
    if kinds or getattr(config, "attention_chunk_size", None):
        return "it has layers of another kind: " + (", ".join(sorted(kinds)) or "chunked attention")
    if getattr(base, "_supports_attention_backend", False) is not True:
        return "its attention cannot be replaced"
    return ""


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _mask)


def _mask(*arguments: Any, use_vmap: bool = False, **options: Any) -> Any:
    """No mask for a flattened batch, as segments and causality are known; else (generation, odd patterns) the usual."""
    from transformers.masking_utils import sdpa_mask

    if _flattened.get() and not use_vmap:
        return None
    return sdpa_mask(*arguments, use_vmap=use_vmap, **options)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    continues: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention function: query [1, heads, T, D], key, value [1, key heads, T, D] → [1, T, heads, D]."""
    if cu_seq_lens_q is None or attention_mask is not None:
        return _attend_masked(
            module, query, key, value, attention_mask, scaling=scaling, softcap=softcap, s_aux=s_aux, **options
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layout = layout_of(cu_seq_lens_q, continues)
    # Under autocast rotary positions have made float32 of queries and keys, and values are of the working dtype.
    query, key = query.to(value.dtype), key.to(value.dtype)
    out = SegmentAttention.apply(query[0], key[0], value[0], s_aux, layout, Rules(scale, sliding_window, softcap))
    return out.transpose(0, 1)[None], None


def _attend_masked(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    softcap: float | None,
    s_aux: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if softcap is None and s_aux is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    return _attend_by_hand(
        module, query, key, value, mask, softcap=softcap, s_aux=s_aux, scaling=options.get("scaling")
    )


def _attend_by_hand(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    softcap: float | None,
    s_aux: Tensor | None,
    scaling: float | None,
) -> tuple[Tensor, None]:
    """Attention with a softcap or sinks, which SDPA cannot do; mask [rows, 1, queries, keys] is True where seen."""
    heads, keys = query.shape[1], key.shape[2]
    key, value = (tensor.repeat_interleave(heads // tensor.shape[1], dim=1) for tensor in (key, value))
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = torch.tanh(scores / softcap) * softcap if softcap else scores
    if mask is None:
        mask = torch.ones(query.shape[2], keys, dtype=torch.bool, device=query.device).tril(keys - query.shape[2])
    scores = scores.float().masked_fill(~mask, torch.finfo(torch.float32).min)
    if s_aux is not None:
        sinks = s_aux.float().view(1, -1, 1, 1).expand(len(scores), -1, scores.shape[2], 1)
        scores = torch.cat([scores, sinks], -1)
    weights = torch.softmax(scores, -1)[..., :keys].to(query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), None


@torch.no_grad()
def _is_exact(base: Any) -> bool:
    """Whether two tiny segments together give the logits that each gives alone, without arguments for packing."""
    was_training = base.training
    base.eval()
    try:
        return _agrees(base)
    except (TypeError, ValueError, RuntimeError, KeyError, NotImplementedError):
        return False
    finally:
        base.train(was_training)


def _agrees(base: Any) -> bool:
    table = base.get_input_embeddings().weight
    ids = (torch.arange(11, device=table.device)[None] * 7 + 3) % table.shape[0]
    positions = torch.cat([torch.arange(6), torch.arange(5)])[None].to(table.device)
    borders = torch.tensor([0, 6, 11], dtype=torch.int32, device=table.device)
    with packed_arguments(base, borders) as extra:
        placed = positions_for(base, positions)
        together = base(input_ids=ids, position_ids=placed, use_cache=False, **extra).logits[0].float()
    alone = [base(input_ids=part, use_cache=False).logits[0].float() for part in (ids[:, :6], ids[:, 6:])]
    difference = (together - torch.cat(alone)).abs().max()
    return bool(difference <= (1e-4 if table.dtype == torch.float32 else 0.05) * together.abs().max())
