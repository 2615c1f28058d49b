"""What llama.cpp calls a model family, the facts it needs of one, and how it wants that family's weights laid out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hone.errors import ModelError

Layout = Callable[[str, Any, Any], Any]
"""A weight's name, its values and the config → the values as llama.cpp reads them."""


@dataclass(frozen=True)
class Family:
    """`arch` is llama.cpp's name. `windowed`: whether it knows the family's sliding window."""

    arch: str
    layout: Layout
    windowed: bool = False


def _as_it_is(_name: str, values: Any, _config: Any) -> Any:
    return values


def _paired(name: str, values: Any, config: Any) -> Any:
    """Queries and keys of llama: llama.cpp turns neighbours, transformers turns the two halves of a head."""
    match = re.search(r"\.(q|k)_proj\.(weight|bias|lora_B)", name)
    if match is None:
        return values
    heads = config.num_attention_heads if match[1] == "q" else config.num_key_value_heads
    rows = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return rows.swapaxes(1, 2).reshape(values.shape)


def _raised(name: str, values: Any, _config: Any) -> Any:
    """Gemma's norms multiply by one more than their weight; llama.cpp's multiply by the weight."""
    return values + 1 if name.endswith("norm.weight") else values


FAMILIES: Mapping[str, Family] = {
    "llama": Family("llama", _paired),
    "mistral": Family("llama", _paired),
    "qwen2": Family("qwen2", _as_it_is),
    "qwen3": Family("qwen3", _as_it_is),
    "gemma3_text": Family("gemma3", _raised, windowed=True),
    "phi3": Family("phi3", _as_it_is, windowed=True),
    "smollm3": Family("smollm3", _paired),
}
"""By `model_type`. SmolLM and SmolLM2 are llama models."""
NO_POSITIONS = 4
"""Each layer of this number has no rotary positions in SmolLM3, as llama.cpp knows it."""


def family_of(config: Any) -> Family:
    """The model's family. Raises ModelError for one that is not written, and for traits that llama.cpp has not."""
    kind = config.model_type
    if kind not in FAMILIES:
        raise ModelError.one(
            "GGUF-FAMILY", f"models of the type {kind!r} are not written as GGUF", "export_format",
            f"known are {', '.join(FAMILIES)}; or export safetensors and use llama.cpp's converter",
        )  # fmt: skip
    for what, present in _strange(config).items():
        if present:
            raise ModelError.one("GGUF-FAMILY", f"GGUF files of this family cannot hold {what}", "export_format")
    return FAMILIES[kind]


def _strange(config: Any) -> dict[str, bool]:
    """Traits whose loss would change every answer."""
    rope = _rope(config)
    kind, gemma = rope.get("rope_type", "default"), config.model_type == "gemma3_text"
    scale = getattr(config, "query_pre_attn_scalar", None)
    pattern = [name == "full_attention" for name in getattr(config, "layer_types", None) or []]
    regular = [(number + 1) % 6 == 0 for number in range(len(pattern))]
    return {
        f"rotary positions of the kind {kind!r}": kind not in ("default", "linear", "llama3"),
        "scaled attention other than by the width of a head": gemma and scale is not None and scale != config.head_dim,
        "this order of local and global layers": gemma and pattern != regular,
        "local rotary positions of another base than 10000": gemma and _local(config).get("rope_theta", 1e4) != 1e4,
        "capped logits": bool(getattr(config, "final_logit_softcapping", None)),
        "this choice of layers without rotary positions": not _turns_as_known(config),
    }


def _turns_as_known(config: Any) -> bool:
    turned = [bool(one) for one in getattr(config, "no_rope_layers", None) or []]
    if config.model_type != "smollm3":
        return all(turned)
    return turned == [(number + 1) % NO_POSITIONS != 0 for number in range(config.num_hidden_layers)]


def _rope(config: Any) -> Mapping[str, Any]:
    found = getattr(config, "rope_parameters", None) or {}
    return found.get("full_attention", found) or {}


def _local(config: Any) -> Mapping[str, Any]:
    return (getattr(config, "rope_parameters", None) or {}).get("sliding_attention") or {}


def context_of(config: Any, family: Family) -> int:
    """The longest text in tokens; where llama.cpp does not know the family's sliding window, no more than that."""
    context, window = int(config.max_position_embeddings), _window(config)
    return context if family.windowed or not window else min(context, window)


def _window(config: Any) -> int:
    used = getattr(config, "use_sliding_window", True)
    return int(getattr(config, "sliding_window", None) or 0) if used else 0


def describe(writer: Any, config: Any, family: Family) -> None:
    """Write the shape of the model into the file's header."""
    width, heads = config.hidden_size, config.num_attention_heads
    head = getattr(config, "head_dim", None) or width // heads
    rope = _rope(config)
    writer.add_context_length(context_of(config, family))
    writer.add_embedding_length(width)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_rope_dimension_count(int(head * rope.get("partial_rotary_factor", 1.0)))
    writer.add_vocab_size(config.vocab_size)
    if family.windowed and _window(config):
        writer.add_sliding_window(_window(config))
    if rope.get("rope_type") == "linear":
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def rope_factors(config: Any) -> Any | None:
    """What the rotary frequencies of llama 3.1 and later are divided by, one a pair of numbers; None without."""
    import numpy as np

    rope = _rope(config)
    if rope.get("rope_type") != "llama3":
        return None
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    waves = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, head, 2, dtype=np.float64) / head)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    blend = (rope["original_max_position_embeddings"] / waves - low) / (high - low)
    blend = np.clip(blend, 0, 1)
    return (1 / ((1 - blend) / rope["factor"] + blend)).astype(np.float32)
