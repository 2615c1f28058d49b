"""A tokenizer in a GGUF file: its tokens, their kinds, how they join, and how a text is cut before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hone.errors import HoneError, ModelError

NORMAL, UNKNOWN, CONTROL, ADDED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
WORST = -1e9
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CUTS = {LLAMA3: "llama-bpe", LLAMA3.replace("{1,3}", ""): "qwen2"}
"""How a text is cut into words, and llama.cpp's name for that."""


def write_words(
    writer: Any, tokenizer: Any, rows: int, *, chat_template: str | None, stop_ids: tuple[int, ...], begins: bool
) -> None:
    """Write the tokenizer for a model with so many rows of embeddings; `begins`: every prompt begins with its token for
    that. Raises ModelError for one that is not known."""
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    model = whole["model"]
    if model.get("type") != "BPE" or len(tokenizer) > rows:
        raise _refused(f"its model is {model.get('type')} with {len(tokenizer)} tokens for {rows} rows")
    spm = bool(model.get("byte_fallback"))
    tokens, kinds = _listed(tokenizer, model, rows, spm=spm)
    writer.add_tokenizer_model("llama" if spm else "gpt2")
    writer.add_tokenizer_pre("default" if spm else _cut(whole["pre_tokenizer"]))
    writer.add_token_list(tokens)
    if spm:
        writer.add_token_scores(_scores(tokens, model))
        writer.add_add_space_prefix(_leads(whole))
    else:
        writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]])
    writer.add_token_types(kinds)
    _write_marks(writer, tokenizer, stop_ids, begins=begins)
    if chat_template:
        writer.add_chat_template(chat_template)


def _write_marks(writer: Any, tokenizer: Any, stop_ids: tuple[int, ...], *, begins: bool) -> None:
    for name in ("bos", "eos", "pad", "unk"):
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    others = [number for number in stop_ids if number != tokenizer.eos_token_id]
    if others:
        writer.add_eot_token_id(others[0])
    writer.add_add_bos_token(begins)
    writer.add_add_eos_token(False)


def _listed(tokenizer: Any, model: Mapping[str, Any], rows: int, *, spm: bool) -> tuple[list[str], list[int]]:
    tokens, kinds = [f"[PAD{number}]" for number in range(rows)], [UNUSED] * rows
    for word, number in model["vocab"].items():
        byte = spm and len(word) == 6 and word.startswith("<0x") and word.endswith(">")
        tokens[number], kinds[number] = word, BYTE if byte else NORMAL
    for number, word in tokenizer.added_tokens_decoder.items():
        tokens[number], kinds[number] = word.content, CONTROL if word.special else ADDED
    if spm and model.get("unk_token") in model["vocab"]:
        kinds[model["vocab"][model["unk_token"]]] = UNKNOWN
    return tokens, kinds


def _scores(tokens: list[str], model: Mapping[str, Any]) -> list[float]:
    """The earlier two parts join, the better their whole: that is how these vocabularies were made."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(model["merges"]):
        left, right = pair if isinstance(pair, list) else pair.split(" ", 1)
        ranks.setdefault(left + right, rank)
    return [-float(ranks[token]) if token in ranks else WORST for token in tokens]


def _leads(whole: Mapping[str, Any]) -> bool:
    """Whether a text gets a space in front."""
    text = json.dumps([whole["normalizer"], whole["pre_tokenizer"]])
    return '"Prepend"' in text or '"prepend_scheme": "first"' in text or '"prepend_scheme": "always"' in text


def _cut(cutter: Mapping[str, Any] | None) -> str:
    """llama.cpp's name for the way a text is cut into words. Raises ModelError for an unknown one."""
    parts = (cutter or {}).get("pretokenizers") or [cutter or {}]
    last = parts[-1]
    if last.get("type") == "ByteLevel" and not last.get("add_prefix_space"):
        before = parts[:-1]
        if not before and last.get("use_regex", True):
            return "gpt-2"
        if len(before) == 1 and before[0].get("type") == "Digits" and before[0].get("individual_digits"):
            return "smollm"
        if len(before) == 1 and before[0].get("type") == "Split":
            found = CUTS.get(before[0]["pattern"].get("Regex", ""))
            if found:
                return found
    raise _refused("it cuts texts into words in a way that has no name in llama.cpp that Hone knows")


def _refused(reason: str) -> HoneError:
    return ModelError.one(
        "GGUF-TOKENIZER", f"the tokenizer cannot be written as GGUF: {reason}", "export_format",
        "export safetensors and use llama.cpp's converter",
    )  # fmt: skip
