"""How many tokens a model has an embedding for, told from its files."""

from __future__ import annotations

from pathlib import Path

from hone.models.gguf import find_gguf
from hone.models.gguf_header import read_header
from hone.models.preflight import read_config


def vocabulary_size(path: Path) -> int:
    """Rows of a model's embedding, from its folder or GGUF file; often a few more than its tokenizer has."""
    gguf = find_gguf(path)
    if gguf is not None:
        return next(tensor.shape[-1] for tensor in read_header(gguf).tensors if tensor.name == "token_embd.weight")
    config = read_config(path)
    text = config.get("text_config")
    return int(config.get("vocab_size") or (text if isinstance(text, dict) else {}).get("vocab_size", 0))
