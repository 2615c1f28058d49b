"""A tiny twin of a large model: the same architecture and tokenizer, few blocks, small widths, random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hone.recipe import ModelSection

LARGE = 64 << 20
"""Bytes of weights beyond which a model is given a twin."""
BLOCKS, WIDTH, HEADS, HEAD, INNER, WINDOW, EXPERTS = 3, 64, 4, 16, 96, 32, 4
COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
INNERS = ("moe_intermediate_size", "shared_expert_intermediate_size")


@dataclass(frozen=True)
class Likeness:
    """How a twin is like the model: `narrow` ones have small widths too, others have fewer blocks alone."""

    narrow: bool

    def __str__(self) -> str:
        return "a tiny twin of the model (the same architecture, " + (
            "few blocks, small widths, random weights)" if self.narrow else "its widths, few blocks, random weights)"
        )


def is_large(folder: Path) -> bool:
    """Whether the weights of this model folder, or this file, are many."""
    files = [folder] if folder.is_file() else [*folder.glob("*.safetensors"), *folder.glob("*.gguf")]
    return sum(file.stat().st_size for file in files) > LARGE


def make_twin(folder: Path, section: ModelSection, tokenizer: Any, place: Path, likeness: Likeness) -> None:
    """Write a twin of the model in `folder` to `place`. Raises whatever its library raises for a shape it cannot be."""
    import torch
    from transformers import AutoConfig

    from hone.models.load import auto_class
    from hone.models.silence import quiet

    with quiet(), torch.random.fork_rng(devices=[]):
        trust = section.trust_remote_code
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trust)
        shrink(config, narrow=likeness.narrow)
        torch.manual_seed(0)
        model = auto_class({"model_type": config.model_type}).from_config(
            config, dtype=torch.float32, trust_remote_code=trust
        )
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)


def shrink(config: Any, *, narrow: bool) -> None:
    """Few blocks, at least one of every kind that the model has; with `narrow` small widths too. In place."""
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    text = config.get_text_config()
    _fewer_blocks(text)
    if hasattr(text, "attention_dropout"):
        text.attention_dropout = 0.0
    if narrow:
        _narrow(text)


def _fewer_blocks(text: Any) -> None:
    count = int(text.num_hidden_layers)
    kinds = list(getattr(text, "layer_types", None) or [""] * count)
    firsts = {kind: kinds.index(kind) for kind in reversed(kinds)}
    kept = sorted({*firsts.values(), *range(min(BLOCKS, count))})
    # Of each kind the first; the rest is filled up from the beginning, as long as that is not too many.
    kept = (
        kept
        if len(kept) <= max(BLOCKS, len(firsts))
        else sorted(
            [*firsts.values(), *[place for place in kept if place not in firsts.values()]][: max(BLOCKS, len(firsts))]
        )
    )
    for name, value in list(text.to_dict().items()):
        if isinstance(value, list) and len(value) == count and hasattr(text, name):
            setattr(text, name, [value[place] for place in kept])
    text.num_hidden_layers = len(kept)


def _narrow(text: Any) -> None:
    heads = int(text.num_attention_heads)
    shared = int(getattr(text, "num_key_value_heads", None) or heads)
    few = HEADS if shared == heads else 1 if shared == 1 else HEADS // 2
    wanted = {
        "hidden_size": WIDTH, "intermediate_size": INNER, "num_attention_heads": HEADS, "num_key_value_heads": few,
        "head_dim": HEAD, **dict.fromkeys(INNERS, INNER // 3),
    }  # fmt: skip
    for name, value in wanted.items():
        if getattr(text, name, None) is not None:
            setattr(text, name, value)
    for name, most in (*((name, EXPERTS) for name in COUNTS), ("num_experts_per_tok", 2), ("sliding_window", WINDOW)):
        if getattr(text, name, None) is not None:
            setattr(text, name, min(int(getattr(text, name)), most))
