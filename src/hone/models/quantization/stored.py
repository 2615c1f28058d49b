"""Checkpoints that are quantised already: what their kind needs to be loaded, and what is loaded as ordinary floats."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hone.errors import MachineError, ModelError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Need:
    """The package that reads a kind of checkpoint, what installs it, and whether a processor is enough."""

    package: str
    install: str
    cpu: bool = False


NEEDS: Mapping[str, Need] = {
    "gptq": Need("gptqmodel", "optimum gptqmodel", cpu=True),
    "awq": Need("gptqmodel", "optimum gptqmodel", cpu=True),
    "aqlm": Need("aqlm", "'aqlm[gpu,cpu]>=1.1'", cpu=True),
    "bitsandbytes": Need("bitsandbytes", "'hone-llm[bnb]'", cpu=True),
    "hqq": Need("hqq", "hqq"),
    "eetq": Need("kernels", "kernels"),
    "quanto": Need("optimum", "optimum-quanto", cpu=True),
    "compressed-tensors": Need("compressed_tensors", "compressed-tensors", cpu=True),
    "torchao": Need("torchao", "torchao", cpu=True),
    "auto-round": Need("auto_round", "auto-round", cpu=True),
}
FLOATS = ("fp8", "mxfp4")
"""Kinds that become ordinary floats while they are loaded."""


def stored_options(config: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` is told about such a checkpoint. Raises MachineError and ModelError."""
    kind = str(config.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in config else ""))
    if kind in FLOATS:
        return {"quantization_config": _as_floats(kind, config)}
    need = NEEDS.get(kind)
    if need is None:
        known = ", ".join(sorted((*NEEDS, *FLOATS)))
        raise ModelError.one(
            "QUANTIZATION", f"checkpoints of the kind {kind!r} are not read", "quantization_config",
            f"use the original weights; known are {known}",
        )  # fmt: skip
    where = "model_name_or_path"
    if importlib.util.find_spec(need.package) is None:
        what = f"a {kind} checkpoint needs the package {need.package}, which is not installed"
        raise MachineError.one("QUANTIZATION", what, where, f"pip install {need.install}")
    if device.type == "cpu" and not need.cpu:
        what = f"a {kind} checkpoint does not run on a processor"
        raise MachineError.one("QUANTIZATION", what, where, "use the original weights, with quantization_bit: 4")
    return {"device_map": {"": device}}


def _as_floats(kind: str, config: Mapping[str, Any]) -> Any:
    from transformers import FineGrainedFP8Config, Mxfp4Config

    if kind == "mxfp4":
        return Mxfp4Config(dequantize=True)
    block = config.get("weight_block_size") or (128, 128)
    return FineGrainedFP8Config(dequantize=True, weight_block_size=tuple(block))
