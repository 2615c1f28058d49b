"""Low-rank adapters on disk: held against the base model before they are loaded, then continued, kept or merged."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import Fault, ModelError
from hone.models.adapter_biases import (
    WITHIN,
    bias_kinds,
    missing_faults,
    refuse_shared_biases,
    refuse_unmergeable,
    restore_kinds,
    setting_faults,
)
from hone.models.fingerprint import base_fingerprint
from hone.models.json_file import read_json
from hone.models.quantization import is_quantized
from hone.models.safetensors_header import StoredTensor, read_header
from hone.models.source import find_source, locate
from hone.models.vocabulary import fit_to_adapter
from hone.rundir import read_card

if TYPE_CHECKING:
    from hone.recipe import ModelSection

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FACTOR = re.compile(
    r"base_model\.model\.(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|oft_R)"
)
WHOLE = re.compile(r"\.(?:embed_tokens|wte|word_embeddings|lm_head|embed_out)\.weight$")
SAVED = re.compile(r"base_model\.model\.(.+)")


def locate_adapter(name: str, model: ModelSection) -> Path:
    """The adapter's folder on this machine, fetched first when the name is a repository's. Raises ModelError."""
    found = locate(name, token=model.hf_hub_token, cache_dir=model.cache_dir, key="adapter_name_or_path").path
    folder = found / model.adapter_folder if model.adapter_folder else found
    if not (folder / CONFIG).is_file():
        raise ModelError.one(
            "ADAPTER-MISSING", f"the folder holds no {CONFIG}", str(folder), "point at the folder of an adapter"
        )
    return folder


def load_adapter(model: Any, folder: Path, model_section: ModelSection, *, training: bool) -> Any:
    """The model wrapped with the adapter, checked first. Raises ModelError naming the tensor that does not fit."""
    import torch
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    fit_to_adapter(model, embedding_rows(folder), folder)
    check_adapter(model, folder, model_section)
    if training:
        refuse_shared_biases(folder, "it cannot go on learning while the model without it serves as a reference")
    kinds = bias_kinds(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Built without weights and then given the file's: nothing is drawn at random to be thrown away. (On weights of
        # 8 bits the library cannot do that.)
        empty = not is_quantized(model)
        found = PeftModel.from_pretrained(model, str(folder), is_trainable=training, low_cpu_mem_usage=empty)
        config = found.peft_config["default"]
        if empty and model.dtype != torch.float32 and not getattr(config, "target_parameters", None):
            set_peft_model_state_dict(found, load_file(folder / WEIGHTS))  # it was rounded to the model's precision
    restore_kinds(found, kinds)
    return found


def merge_adapter(model: Any, folder: Path, model_section: ModelSection) -> Any:
    """The model with the adapter added into its weights for good, as `merged` does it."""
    return merged(load_adapter(model, folder, model_section, training=False))


def merged(wrapped: Any) -> Any:
    """The model that an adapter sits on, with the adapter added into its weights for good.

    The sum is made in float32 and rounded once, whatever precision the weights are kept in.
    """
    refuse_unmergeable(dict(_adapted(wrapped)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a tied embedding that was learned is written out twice from here on
        _merge_half_precision(wrapped)
        model = wrapped.merge_and_unload()
    if hasattr(model, "peft_config"):
        del model.peft_config  # else the next adapter is taken for a second one on top
    return model


def _adapted(wrapped: Any) -> Iterator[tuple[str, Any]]:
    """The layers with an adapter, and their names in the model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in wrapped.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name.removeprefix("base_model.model."), layer


def _merge_half_precision(wrapped: Any) -> None:
    """Merge the layers whose weights are narrower than float32, one at a time, by way of float32."""
    import torch

    for _, layer in _adapted(wrapped):
        weight = getattr(layer.get_base_layer(), "weight", None)
        if weight is None or weight.dtype not in (torch.bfloat16, torch.float16):
            continue
        kind, weight.data = weight.dtype, weight.data.float()
        layer.merge()
        weight.data = weight.data.to(kind)


def embedding_rows(folder: Path) -> int:
    """The rows of a whole embedding or head that an adapter brings along, 0 without one."""
    tensors = read_header(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else {}
    return max((tensor.shape[0] for name, tensor in tensors.items() if WHOLE.search(name)), default=0)


def check_adapter(model: Any, folder: Path, model_section: ModelSection) -> None:
    """Hold an adapter against the model it is to sit on. Raises ModelError with every fault found."""
    config = read_json(folder / CONFIG)
    ModelError.all_of(_config_faults(config, folder))
    ModelError.all_of(_base_faults(folder, model_section))
    tensors = _read(folder)
    parameters = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    adapted = list(dict.fromkeys(match[1] for name in tensors if (match := FACTOR.match(name))))
    biases = missing_faults(parameters, config, tensors, adapted, folder)
    fit, targets = _fit_faults(model, config, tensors, folder), _target_faults(config, tensors, folder)
    ModelError.all_of([*fit, *targets, *biases])
    ModelError.all_of(_number_faults(folder))


def _read(folder: Path) -> Mapping[str, StoredTensor]:
    if (folder / WEIGHTS).is_file():
        return read_header(folder / WEIGHTS)
    if (folder / "adapter_model.bin").is_file():
        raise ModelError.one(
            "PICKLE-REFUSED", "the adapter is a pickle (adapter_model.bin), which can run code", str(folder),
            f"use its {WEIGHTS}; or, in a place without secrets, read it with torch.load(weights_only=True) and write "
            "it with safetensors.torch.save_file",
        )  # fmt: skip
    raise ModelError.one("ADAPTER-MISSING", f"the folder holds no {WEIGHTS}", str(folder), "fetch the adapter again")


def _config_faults(config: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    where, fix = str(folder / CONFIG), "mend the file, or fetch the adapter again"
    kind, rank = config.get("peft_type"), config.get("r")
    if kind not in ("LORA", "OFT"):
        yield Fault("ADAPTER-CONFIG", f"peft_type is {kind!r}, only LORA and OFT are supported", where)
    if type(rank) is not int or not (kind == "LORA") <= rank <= 1 << 16:  # OFT may go by the size of its blocks
        yield Fault("ADAPTER-CONFIG", f"the rank r is {rank!r}, not a whole number from 1", where, fix)
    if config.get("auto_mapping") or config.get("megatron_config"):
        yield Fault("REMOTE-CODE", "the adapter names a Python module to import, which is not done", where)
    if not isinstance(config.get("target_modules"), list | str):
        yield Fault("ADAPTER-CONFIG", "target_modules names no layers", where, fix)
    yield from setting_faults(config, where)


def _base_faults(folder: Path, model_section: ModelSection) -> Iterator[Fault]:
    card = read_card(folder)
    if card is None or not card.base_fingerprint or not model_section.model_name_or_path:
        return
    here = base_fingerprint(find_source(model_section).path)
    if here != card.base_fingerprint:
        what = f"the adapter was trained on {card.base_model} ({card.base_fingerprint}), not on this model ({here})"
        yield Fault("ADAPTER-BASE", what, str(folder), f"name {card.base_model} as model_name_or_path")


def _fit_faults(
    model: Any, config: Mapping[str, Any], tensors: Mapping[str, StoredTensor], folder: Path
) -> Iterator[Fault]:
    """Tensors that have no place in the model, or another shape than their place."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters(remove_duplicate=False))
    where, fix = str(folder / WEIGHTS), "use the base model that the adapter was trained on"
    for name, tensor in tensors.items():
        factor, saved = FACTOR.match(name), SAVED.match(name.replace(WITHIN, ".bias"))
        if factor and config.get("target_parameters") and _stacked(modules, factor[1]):
            continue  # of experts' stacked weights: the library's own check has to do
        if factor and (module := modules.get(factor[1])) is not None and hasattr(module, "weight"):
            kind = "bias" if name.endswith("lora_B.bias") and config.get("lora_bias") else factor[2]
            wanted = _factor_shape(kind, module, config, tensor)
        elif not factor and saved and saved[1] in parameters:
            wanted = tuple(parameters[saved[1]].shape)
        else:
            yield Fault("ADAPTER-FIT", f"the tensor {name} has no place in this model", where, fix)
            continue
        if tensor.shape != wanted:
            what = f"the tensor {name} has shape {tensor.shape}, this model and rank need {wanted}"
            yield Fault("ADAPTER-FIT", what, where, fix)


def _stacked(modules: Mapping[str, Any], name: str) -> bool:
    """Whether a factor's module holds stacked weights; the library names them one inside the other."""
    module = modules.get(name.removesuffix(".base_layer"))
    return module is not None and any(weight.ndim == 3 for weight in module.parameters(recurse=False))


def _factor_shape(kind: str, module: Any, config: Mapping[str, Any], tensor: StoredTensor) -> tuple[int, ...]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if kind == "oft_R" or not isinstance(module, nn.Linear | nn.Embedding | Conv1D):
        return tensor.shape  # convolutions: the library's own check has to do
    if isinstance(module, nn.Linear):  # whatever form a quantised weight has
        outside, inside = module.out_features, module.in_features
    else:
        outside, inside = reversed(module.weight.shape)
    place = 1 if kind.endswith("B") else 0
    own = config.get("rank_pattern") and len(tensor.shape) == 2
    rank = tensor.shape[place] if own else config["r"]
    shapes = {"A": (rank, inside), "B": (outside, rank), "magnitude_vector": (outside,), "bias": (outside,)}
    return shapes[kind.removeprefix("lora_").removeprefix("embedding_")]


def _target_faults(config: Mapping[str, Any], tensors: Mapping[str, StoredTensor], folder: Path) -> Iterator[Fault]:
    """Layers the config says are adapted but the file has nothing for, and factors without their other half."""
    where = str(folder / WEIGHTS)
    factors: dict[str, set[str]] = {}
    for name in tensors:
        if match := FACTOR.match(name):
            factors.setdefault(match[1], set()).add(match[2].removeprefix("lora_").removeprefix("embedding_"))
    for module, kinds in factors.items():
        if "oft_R" in kinds:
            continue
        for half in sorted({"A", "B"} - kinds):
            yield Fault("ADAPTER-FIT", f"the tensor lora_{half} of {module} is missing", where, "fetch it again")
    targets = config["target_modules"] if isinstance(config["target_modules"], list) else []
    for target in targets:
        if not any(module == target or module.endswith(f".{target}") for module in factors):
            yield Fault("ADAPTER-FIT", f"the target {target} has no tensors in the file", where, "fetch it again")


def _number_faults(folder: Path) -> Iterator[Fault]:
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  not a mapping
            tensor = file.get_tensor(name)
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                what = f"the tensor {name} holds NaN or infinity"
                yield Fault("ADAPTER-NAN", what, str(folder / WEIGHTS), "use an earlier checkpoint")
