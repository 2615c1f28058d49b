"""A model, or an adapter alone, as a GGUF file: one tensor at a time, so that no second copy of the model is held."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hone.errors import ModelError
from hone.export.gguf_family import Family, describe, family_of, rope_factors
from hone.export.gguf_types import TYPES, converted, file_type, type_of
from hone.export.gguf_words import write_words
from hone.export.weights import Weights

Layout = Callable[[Any], Any]
"""A weight → its float32 values as llama.cpp reads them."""


def gguf_bytes(model: Any, wanted: str) -> int:
    """About what the file will take on the disk."""
    from gguf import quant_shape_to_byte_shape

    family, whole = family_of(model.config), wanted not in TYPES
    wanted = "f32" if whole else wanted  # beside what llama.cpp makes of it
    sizes = (quant_shape_to_byte_shape(tuple(weight.shape), type_of(name, tuple(weight.shape), wanted))
             for name, _, weight in _weights(model, family))  # fmt: skip
    total = 0
    for shape in sizes:
        size = 1
        for side in shape:
            size *= side
        total += size * (4 if wanted == "f32" else 2 if wanted in ("f16", "bf16") else 1)
    return total * 5 // 4 if whole else total


def write_gguf(
    path: Path,
    weights: Weights,
    tokenizer: Any,
    *,
    wanted: str,
    chat_template: str | None,
    stop_ids: tuple[int, ...],
    begins: bool,
) -> None:
    """Write a model with its tokenizer. `wanted` is one of `gguf_types.TYPES`; `begins`: prompts begin with the
    tokenizer's token for that. Raises ModelError for a family or a tokenizer that is not known, NumericError for a
    weight that is no number."""
    from gguf import GGUFWriter

    config, family = weights.model.config, family_of(weights.model.config)
    writer = GGUFWriter(None, family.arch)
    writer.add_type("model")
    writer.add_file_type(file_type(wanted))
    writer.add_quantization_version(2)
    describe(writer, config, family)
    write_words(writer, tokenizer, config.vocab_size, chat_template=chat_template, stop_ids=stop_ids, begins=begins)
    tensors: dict[str, Any] = {}
    turned: dict[str, Layout] = {}
    factors = rope_factors(config)
    if factors is not None:
        import torch

        tensors["rope_freqs.weight"] = torch.from_numpy(factors)
        turned["rope_freqs.weight"] = _laid_out("rope_freqs", family, config)
    for new, old, weight in _weights(weights.model, family):
        tensors[new], turned[new] = weight, _made(weights, old, _laid_out(old, family, config))
    kinds = {name: type_of(name, tuple(weight.shape), wanted) for name, weight in tensors.items()}
    _write(writer, path, tensors, kinds, turned)


def _laid_out(name: str, family: Family, config: Any) -> Layout:
    """What gives a weight's values as llama.cpp lays them out."""
    return lambda weight: family.layout(name, weight.detach().float().cpu().numpy(), config)


def _made(weights: Weights, name: str, layout: Layout) -> Layout:
    """The same for a weight that is first made."""
    return lambda weight: layout(weights.made(name, weight))


def write_lora(path: Path, folder: Path, config: Any) -> None:
    """Write the adapter in a folder for the model that `config` describes. Raises ModelError for what llama.cpp's
    adapters have no place for."""
    import gguf
    from safetensors.torch import load_file

    from hone.models.adapters import CONFIG, WEIGHTS
    from hone.models.json_file import read_json

    family, said = family_of(config), read_json(folder / CONFIG)
    whole = "export the merged model: export_format: gguf"
    strange = [
        key for key in ("use_dora", "lora_bias", "modules_to_save", "rank_pattern", "alpha_pattern") if said.get(key)
    ]
    if said.get("peft_type") != "LORA" or strange:
        what = f"an adapter with {' and '.join(strange) or said.get('peft_type')} has no GGUF form of its own"
        raise ModelError.one("GGUF-LORA", what, str(folder), whole)
    rank = int(said["r"])
    alpha = float(said.get("lora_alpha") or rank) * (rank**0.5 if said.get("use_rslora") else 1.0)
    names = _names(family, config.num_hidden_layers)
    tensors, turned = {}, {}
    for name, weight in sorted(load_file(folder / WEIGHTS).items()):
        match = re.fullmatch(r"base_model\.model\.(.+)\.(lora_[AB])\.weight", name)
        new = match and names.get_name(match[1])
        if not match or not new:
            raise ModelError.one("GGUF-LORA", f"the tensor {name} has no place in a GGUF adapter", str(folder), whole)
        key = f"{new}.weight.{match[2].lower()}"
        tensors[key] = weight.float()
        turned[key] = _laid_out(f"{match[1]}.{match[2]}", family, config)
    writer = gguf.GGUFWriter(None, family.arch)
    writer.add_type("adapter")
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    kinds = dict.fromkeys(tensors, gguf.GGMLQuantizationType.F32)
    _write(writer, path, tensors, kinds, turned)


def _write(writer: Any, path: Path, tensors: Mapping[str, Any], kinds: Mapping[str, Any], turned: Any) -> None:
    """The header with the list of tensors, then each of them, made when its turn comes."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quant_shape_to_byte_shape

    for name, weight in tensors.items():
        kind, shape = kinds[name], tuple(weight.shape)
        plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}.get(kind)
        block, width = GGML_QUANT_SIZES[kind]
        size = weight.numel() // block * width
        bytes_shape = shape if plain else quant_shape_to_byte_shape(shape, kind)
        writer.add_tensor_info(name, bytes_shape, np.dtype(plain or np.uint8), size, raw_dtype=kind)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, weight in tensors.items():
        writer.write_tensor_data(converted(name, turned[name](weight), kinds[name]))
    writer.close()


def _weights(model: Any, family: Family) -> Iterator[tuple[str, str, Any]]:
    """llama.cpp's names, the model's, and the weights, tied ones once. Raises ModelError for a weight that has no name
    there."""
    names = _names(family, model.config.num_hidden_layers)
    for name, weight in model.named_parameters():
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new is None:
            raise ModelError.one("GGUF-FAMILY", f"the weight {name} has no place in a GGUF file", "export_format")
        yield new, name, weight


@cache
def _names(family: Family, layers: int) -> Any:
    import gguf

    return gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, family.arch.upper()), layers)
