"""A LoRA adapter as an engine answers with it: two thin factors for each layer, read from its folder and checked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hone.errors import ModelError
from hone.models.adapters import CONFIG, FACTOR, WEIGHTS, check_adapter
from hone.models.json_file import read_json

if TYPE_CHECKING:
    from hone.recipe import ModelSection

STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""`init_lora_weights` that leave the base as it is; other ones (pissa, olora, loftq …) may take something out of it."""
PLAIN = frozenset(
    {"task_type", "peft_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r"}
    | {"target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "use_rslora", "init_lora_weights"}
    | {"layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_core", "qalora_group_size"}
    | {"runtime_config", "ensure_weight_tying", "loftq_config", "eva_config"}
)
"""Keys of an adapter's config that are known to change nothing about how its factors are added, or are honoured."""


@dataclass(frozen=True)
class Factors:
    """What is added to a layer's output: `down` [r, in], `up` [out, r]; the scale is folded into `up`."""

    down: Tensor
    up: Tensor


class Lora:
    """An adapter's factors by the full name of their layer. Two readings of a folder are two adapters, each with a
    number (from 1) of its own."""

    numbers = itertools.count(1)

    def __init__(self, factors: Mapping[str, Factors]) -> None:
        self.factors = factors
        self.number = next(self.numbers)


def read_lora(model: Any, folder: Path, section: ModelSection) -> Lora:
    """Read an adapter for a model that stays as it is, in its precision and on its device.

    Raises ModelError for what does not fit, and for adapters that are more than factors of linear layers: those can be
    merged into the weights, but not be given to one request and not to another.
    """
    check_adapter(model, folder, section)
    config = read_json(folder / CONFIG)
    _check_plain(config, folder)
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    halves: dict[str, dict[str, Tensor]] = {}
    modules = dict(model.named_modules())
    for name, tensor in tensors.items():
        found = FACTOR.match(name)
        if found is None or found[2] not in ("lora_A", "lora_B") or not _is_linear(modules.get(found[1])):
            raise _more_than_factors(f"the tensor {name}", folder)
        halves.setdefault(found[1], {})[found[2]] = tensor
    like = {"dtype": model.dtype, "device": model.device}
    return Lora(
        {
            name: Factors(
                pair["lora_A"].to(**like).contiguous(),
                (pair["lora_B"].float() * _scale(config, name, len(pair["lora_A"]))).to(**like).contiguous(),
            )
            for name, pair in halves.items()
        }
    )


def _is_linear(module: Any) -> bool:
    from torch import nn

    return isinstance(module, nn.Linear)


def _check_plain(config: Mapping[str, Any], folder: Path) -> None:
    """Whatever says that more than factors are added is refused, known or not."""
    if config.get("peft_type") != "LORA":
        raise _more_than_factors(f"peft_type {config.get('peft_type')}", folder)
    if config.get("init_lora_weights") not in STARTS:
        raise _more_than_factors(f"init_lora_weights {config['init_lora_weights']!r}", folder)
    for name, value in config.items():
        if name not in PLAIN and value and not (name == "bias" and value == "none"):
            raise _more_than_factors(name[:80], folder)


def _more_than_factors(what: str, folder: Path) -> ModelError:
    said = f"the adapter is more than LoRA of linear layers ({what}), so it cannot be answered with by name"
    return ModelError.one(  # type: ignore[return-value]
        "ADAPTER-KIND", said, str(folder), "serve it alone, without a name: it is then merged into the weights"
    )


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """As PEFT does it: alpha over the rank, or over its root (rsLoRA)."""
    from peft.utils.other import get_pattern_key

    special = config.get("alpha_pattern") or {}
    alpha = float(special.get(get_pattern_key(list(special), module), config.get("lora_alpha", 8)))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
