"""What is checked of a model folder before anything is loaded: its config, its weights' headers, code and pickles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hone.errors import Fault, ModelError
from hone.models.json_file import read_json
from hone.models.safetensors_header import StoredTensor
from hone.models.shards import read_weights

CODE = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json",
        "video_preprocessor_config.json", "generation_config.json")  # fmt: skip

SIZES: Mapping[str, tuple[tuple[str, ...], int]] = {
    "vocabulary": (("vocab_size",), 1 << 23),
    "width": (("hidden_size", "n_embd", "d_model"), 1 << 18),
    "layers": (("num_hidden_layers", "n_layer", "num_layers"), 1 << 12),
    "heads": (("num_attention_heads", "n_head"), 1 << 14),
    "key heads": (("num_key_value_heads",), 1 << 14),
    "head width": (("head_dim",), 1 << 14),
    "feed-forward width": (("intermediate_size", "n_inner"), 1 << 22),
}
"""What the numbers are, the names a config gives them, and a bound no real model comes near."""

EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|tok_embeddings|embed_in)\.weight$")
FEED_FORWARD = re.compile(r"(?:^|\.)mlp\.up_proj\.weight$")
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def check_folder(folder: Path, *, trust_code: bool = False, fetched: bool = False) -> None:
    """Refuse a model folder that is broken, lies about itself, hides code, or holds only pickles. Takes milliseconds.

    `fetched`: Hone brought the files itself and left Python files behind, so a mere mention of code is harmless.
    Raises ModelError with every fault found.
    """
    config = read_config(folder)
    if not trust_code:
        ModelError.all_of(code_faults(folder, config, fetched=fetched))
    ModelError.all_of(config_faults(config, folder / "config.json"))
    ModelError.all_of(weight_faults(config, read_weights(folder), folder))


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """The folder's config. ModelError when it is missing, not JSON, or holds NaN or infinity."""
    path = folder / name
    if not path.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        what = "this is an adapter, not a model" if adapter else f"the folder has no {name}"
        fix = "give it as adapter_name_or_path" if adapter else "point at the folder that holds the model"
        raise ModelError.one("MODEL-CONFIG", what, str(folder), fix)
    return read_json(path)


def code_faults(folder: Path, config: Mapping[str, Any], *, fetched: bool) -> Iterator[Fault]:
    """Files that would have Python code of the model's author run here."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    known = config.get("model_type") in CONFIG_MAPPING_NAMES
    for name in CODE:
        path = folder / name
        if path.is_file() and "auto_map" in read_json(path) and not (known and (fetched or not _holds_code(folder))):
            yield Fault(
                "REMOTE-CODE", "the model needs remote code, Python written by its author, which is not run", str(path),
                "read the code, then set trust_remote_code: true; or remove the entry auto_map from the file",
            )  # fmt: skip


def _holds_code(folder: Path) -> bool:
    return any(folder.glob("*.py"))


def config_faults(config: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    """Numbers in a config that no model can have, or that contradict each other."""
    inner = text_config(config)
    where, fix = str(path), "mend the file, or fetch it again"
    if not isinstance(config.get("model_type"), str):
        yield Fault("MODEL-CONFIG", "the config names no model_type", where, fix)
    sizes: dict[str, int] = {}
    for what, (names, bound) in SIZES.items():
        for name in names:
            value = inner.get(name)
            if value is None or isinstance(value, list):
                continue
            if type(value) is not int or not 1 <= value <= bound:
                yield Fault("MODEL-CONFIG", f"{name} is {value!r}, not between 1 and {bound}", where, fix)
            else:
                sizes[what] = value
    heads, width, keys = sizes.get("heads"), sizes.get("width"), sizes.get("key heads")
    if heads and width and "head width" not in sizes and "head_dim" not in inner and width % heads:
        yield Fault("MODEL-CONFIG", f"{heads} attention heads do not divide the hidden size {width}", where, fix)
    if heads and keys and heads % keys:
        yield Fault("MODEL-CONFIG", f"{keys} key-value heads do not divide {heads} attention heads", where, fix)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that speaks of the language model."""
    inner = config.get("text_config") or config.get("llm_config")
    return inner if isinstance(inner, dict) else config


def weight_faults(config: Mapping[str, Any], weights: Mapping[str, StoredTensor], folder: Path) -> Iterator[Fault]:
    """Where the config and the weights say different things; both numbers are named."""
    if "quantization_config" in config or config.get("is_encoder_decoder"):
        return
    inner, where, fix = text_config(config), str(folder / "config.json"), "config and weights belong to one model"
    table = next((tensor for name, tensor in weights.items() if EMBEDDING.search(name)), None)
    vocabulary, width = _size(inner, "vocabulary"), _size(inner, "width")
    if table is not None and len(table.shape) == 2 and vocabulary and "vision_config" not in config:
        if table.shape[0] != vocabulary:
            what = f"vocab_size is {vocabulary} but the embedding has {table.shape[0]} rows"
            yield Fault("MODEL-MISMATCH", what, where, fix)
        if width and table.shape[1] != width and not {"embedding_size", "word_embed_proj_dim"} & inner.keys():
            what = f"hidden_size is {width} but the embedding has {table.shape[1]} columns"
            yield Fault("MODEL-MISMATCH", what, where, fix)
    inside = _size(inner, "feed-forward width")
    wide = next((tensor for name, tensor in weights.items() if FEED_FORWARD.search(name)), None)
    if inside and wide is not None and len(wide.shape) == 2 and wide.shape[0] != inside:
        what = f"intermediate_size is {inside} but the feed-forward layers have {wide.shape[0]} rows"
        yield Fault("MODEL-MISMATCH", what, where, fix)
    layers, found = _size(inner, "layers"), [int(hit[1]) for name in weights if (hit := LAYER.search(name))]
    extra = inner.get("num_nextn_predict_layers") or 0
    if layers and found and "vision_config" not in config and max(found) + 1 not in (layers, layers + extra):
        what = f"num_hidden_layers is {layers} but the weights have {max(found) + 1} layers"
        yield Fault("MODEL-MISMATCH", what, where, fix)


def _size(config: Mapping[str, Any], what: str) -> int | None:
    return next((config[name] for name in SIZES[what][0] if isinstance(config.get(name), int)), None)
