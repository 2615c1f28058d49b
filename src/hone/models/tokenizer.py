"""Loading a model's tokenizer, from its folder, a hub or a GGUF file, without running anyone's code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hone.errors import ModelError
from hone.models.gguf import find_gguf, load_gguf_tokenizer
from hone.models.preflight import code_faults, read_config
from hone.models.source import Source, find_source
from hone.models.tokenizer_probe import check_words

if TYPE_CHECKING:
    from hone.recipe import ModelSection

LARGEST = 200 << 20
"""Bytes of tokenizer.json; the largest real ones are 35 MB."""


def load_tokenizer(model: ModelSection) -> Any:
    """The model's fast tokenizer as its folder says it, padding on the right. Raises ModelError."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    source = find_source(model)
    gguf = find_gguf(source.path)
    if gguf is not None:
        return load_gguf_tokenizer(gguf, padding_side="right")
    _check(source, trust_code=model.trust_remote_code)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(source.path),
            use_fast=True,
            padding_side="right",
            local_files_only=True,
            trust_remote_code=model.trust_remote_code,
            **({"split_special_tokens": True} if model.split_special_tokens else {}),
        )
    except Exception as reason:
        raise ModelError.one(
            "TOKENIZER", f"the tokenizer cannot be loaded ({_first_line(reason)})", str(source.path),
            "fetch tokenizer.json and tokenizer_config.json of this model again",
        ) from reason  # fmt: skip
    if not tokenizer.is_fast:
        raise ModelError.one("TOKENIZER", "the model has no fast tokenizer", str(source.path), "add its tokenizer.json")
    check_words(tokenizer, source.path / "tokenizer.json")
    return tokenizer


def _check(source: Source, *, trust_code: bool) -> None:
    config = read_config(source.path)
    if not trust_code:
        ModelError.all_of(code_faults(source.path, config, fetched=source.fetched))
    path = source.path / "tokenizer.json"
    if path.is_file() and path.stat().st_size > LARGEST:
        raise ModelError.one("TOKENIZER", f"the file has more than {LARGEST} bytes", str(path), "fetch it again")


def _first_line(reason: Exception) -> str:
    return (str(reason) or type(reason).__name__).strip().splitlines()[0][:200]
