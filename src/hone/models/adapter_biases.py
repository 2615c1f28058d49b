"""Biases that an adapter brings along: of the base's own layers (`bias`), or of its second factor (`lora_bias`)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from hone.errors import Fault, ModelError
from hone.models.json_file import read_json
from hone.models.safetensors_header import StoredTensor, read_header

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
START, WITHIN = "base_model.model.", ".base_layer.bias"
KINDS = {"LORA": ("none", "all", "lora_only"), "OFT": ("none", "all", "oft_only")}


def setting_faults(config: Mapping[str, Any], where: str) -> Iterator[Fault]:
    """What the two keys of the config must not say."""
    kinds, bias = KINDS.get(str(config.get("peft_type")), ("none", "all")), config.get("bias", "none")
    if bias not in kinds:
        what = f"bias is {json.dumps(bias)[:80]}, not one of {', '.join(kinds)}"
        yield Fault("ADAPTER-CONFIG", what, where, "mend the file, or fetch the adapter again")
    if config.get("lora_bias") and (
        config.get("use_dora") or config.get("init_lora_weights") not in (None, True, False)
    ):
        what = "lora_bias does not go together with use_dora or an init_lora_weights that is a name"
        yield Fault("ADAPTER-CONFIG", what, where, "train the adapter again without lora_bias")


def missing_faults(
    parameters: Collection[str],
    config: Mapping[str, Any],
    tensors: Mapping[str, StoredTensor],
    adapted: Collection[str],
    folder: Path,
) -> Iterator[Fault]:
    """Biases that the config speaks of and the file does not hold, or holds where they would be passed over.

    `parameters` are the model's names, `adapted` its modules that have factors in the file.
    """
    bias, where = config.get("bias", "none"), str(folder / WEIGHTS)
    for module in adapted:
        if f"{START}{module}.bias" in tensors:
            what = f"the bias of {module} is stored as {START}{module}.bias, where peft passes over it"
            yield Fault("ADAPTER-BIAS", what, where, f"name the tensor {START}{module}{WITHIN}")
    known = {name.removeprefix(START).replace(WITHIN, ".bias") for name in tensors}
    wanted = [f"{module}.bias" for module in adapted if f"{module}.bias" in parameters]
    if bias == "all":
        wanted = [name for name in parameters if name.endswith(".bias")]
    lost = [name for name in wanted if name not in known]
    if bias != "none" and lost:
        what = f"{CONFIG} says bias: {bias}, but the file lacks {len(lost)} biases, the first is {lost[0]}"
        fix = f'save it again with a current peft, or say "bias": "none" in {CONFIG} '
        yield Fault("ADAPTER-BIAS", what, where, fix + "to go on without what they learned")
    if config.get("lora_bias"):
        for module in adapted:
            if f"{START}{module}.lora_B.bias" not in tensors:
                what = f"{CONFIG} says lora_bias, but the tensor lora_B.bias of {module} is missing"
                yield Fault("ADAPTER-BIAS", what, where, f'fetch it again, or say "lora_bias": false in {CONFIG}')


def refuse_shared_biases(folder: Path, what: str) -> None:
    """Raise ModelError where an adapter changes biases of the base itself, which others are to see as they were."""
    bias = read_json(folder / CONFIG).get("bias", "none")
    if bias != "none" and any(map(_of_the_base, read_header(folder / WEIGHTS))):
        raise ModelError.one(
            "ADAPTER-BIAS", f"bias: {bias} in {CONFIG} changes biases of the base model itself, so {what}", str(folder),
            "merge the adapter first (hone export, or create_new_adapter: true)",
        )  # fmt: skip


def bias_kinds(model: Any) -> dict[str, Any]:
    """The precision of each bias of a model without adapters."""
    return {name: weight.dtype for name, weight in model.named_parameters() if name.endswith(".bias")}


def restore_kinds(wrapped: Any, kinds: Mapping[str, Any]) -> None:
    """Give the base's biases, which the library takes over as they lie in the file, the precision they had."""
    for name, weight in wrapped.named_parameters():
        kind = kinds.get(name.removeprefix(START).replace(WITHIN, ".bias"), weight.dtype)
        if weight.dtype != kind:
            weight.data = weight.data.to(kind)


def _of_the_base(name: str) -> bool:
    return name.endswith(".bias") and not name.endswith(".lora_B.bias")


def refuse_unmergeable(layers: Mapping[str, Any]) -> None:
    """Raise ModelError naming the layers whose adapter has a bias to add where there is none to add it to."""
    lacking = [
        name
        for name, layer in layers.items()
        if any(getattr(layer, "lora_bias", {}).values()) and getattr(layer.get_base_layer(), "bias", None) is None
    ]
    if lacking:
        raise ModelError.one(
            "ADAPTER-BIAS",
            f"lora_bias in {CONFIG} adds a bias to {len(lacking)} layers that have none, the first is {lacking[0]}, "
            "so the adapter cannot be merged", "", "train it again with lora_bias: false",
        )  # fmt: skip
