"""A larger vocabulary: words added to the tokenizer, rows added to the embeddings, and how these rows start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.errors import ModelError
from hone.log import say, warn
from hone.models.json_file import read_json

if TYPE_CHECKING:
    from torch import Tensor

    from hone.recipe import ModelSection

MULTIPLE = 64
"""Rows are added up to a multiple of this many, which matrix units like."""


LARGEST = 200 << 20
"""Bytes of tokenizer.json; the largest real ones are 35 MB."""


def grows(section: ModelSection) -> bool:
    """Whether the recipe lets the vocabulary grow; words that are added force it."""
    added = section.add_tokens or section.add_special_tokens or section.new_special_tokens_config
    return bool(section.resize_vocab or added)


def add_words(tokenizer: Any, section: ModelSection) -> int:
    """Add the recipe's words to the tokenizer, in place; returns how many were new. Raises ModelError."""
    special = list(descriptions(section)) or list(section.add_special_tokens)
    before = len(tokenizer)
    _add_those_of_adapters(tokenizer, section)
    if section.add_tokens:
        tokenizer.add_tokens(list(section.add_tokens))
    if special:
        tokenizer.add_special_tokens({"extra_special_tokens": special}, replace_extra_special_tokens=False)
    new = len(tokenizer) - before
    if new:
        say(f"{new} tokens are added to the vocabulary, which has {len(tokenizer)} now")
    if len(tokenizer) > before and grows(section) and not section.resize_vocab:
        say("resize_vocab: added tokens need rows of their own, the embeddings grow")
    return new


def _add_those_of_adapters(tokenizer: Any, section: ModelSection) -> None:
    """The words that an adapter was trained with, as the tokenizer saved beside it has them."""
    from tokenizers import AddedToken

    for name in section.adapter_name_or_path:
        path = Path(name).expanduser() / (section.adapter_folder or "") / "tokenizer.json"
        if not path.is_file():
            continue
        known = tokenizer.get_vocab()
        for word in _added(path):
            if word["content"] not in known:
                kinds = {kind: bool(word.get(kind)) for kind in ("special", "lstrip", "rstrip", "normalized")}
                tokenizer.add_tokens([AddedToken(word["content"], **kinds)], special_tokens=kinds["special"])


def descriptions(section: ModelSection) -> Mapping[str, str]:
    """The special tokens of new_special_tokens_config and what each means; empty without one. Raises ModelError."""
    if not section.new_special_tokens_config:
        return {}
    import yaml

    path = Path(section.new_special_tokens_config)
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as reason:
        first = str(reason).splitlines()[0]
        raise ModelError.one(
            "VOCABULARY", f"the list of new tokens cannot be read ({first})", str(path), "mend the file"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in found.items()):
        raise ModelError.one(
            "VOCABULARY", "the file must map each new token to its description", str(path),
            "write lines such as `\"<think>\": begins a thought`",
        )  # fmt: skip
    return found


def grow_model(model: Any, tokenizer: Any, section: ModelSection) -> None:
    """Give every word of the tokenizer a row, in place; new rows start as the recipe says."""
    import torch

    table = model.get_input_embeddings().weight
    rows = table.shape[0]
    if len(tokenizer) <= rows or not (grows(section) or section.adapter_name_or_path):
        return
    if getattr(model, "is_quantized", False):
        raise ModelError.one("VOCABULARY", "quantised weights cannot grow", "resize_vocab", "tune the original weights")
    with torch.random.fork_rng(devices=[]):  # the library draws rows of its own, which are thrown away
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=MULTIPLE, mean_resizing=False)
    _start(model.get_input_embeddings().weight, rows, tokenizer, section, model.get_input_embeddings().weight)
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        # Descriptions tell what goes in; the head's rows start from its own mean.
        _start(head.weight, rows, tokenizer, section, head.weight)
        if getattr(head, "bias", None) is not None:
            head.bias.data[rows:] = head.bias.data[:rows].mean()
    say(f"the embeddings have {model.get_input_embeddings().weight.shape[0]} rows instead of {rows}")


def _start(weight: Tensor, rows: int, tokenizer: Any, section: ModelSection, known: Tensor) -> None:
    """Fill the rows from `rows` on: the mean of the old ones with noise, or the mean of a description's tokens."""
    import torch

    with torch.no_grad():
        old = known[:rows].float()
        mean, spread = old.mean(0), old.shape[1] ** -0.5
        count = weight.shape[0] - rows
        noise = torch.randn(count, old.shape[1]).to(weight.device) * spread * old.std()
        fresh = mean + noise
        if section.init_special_tokens != "noise_init":
            noisy = section.init_special_tokens == "desc_init_w_noise"
            for word, meaning in descriptions(section).items():
                place = tokenizer.convert_tokens_to_ids(word) - rows
                ids = [number for number in described(tokenizer, meaning) if number < rows]
                if not ids:
                    warn(f"the description of {word} has no token; its row starts from the mean")
                elif place >= 0:
                    fresh[place] = old[ids].mean(0) + (noise[place] if noisy else 0)
        weight[rows:] = fresh.to(weight.dtype)


def described(tokenizer: Any, meaning: str) -> Sequence[int]:
    """The tokens of a description."""
    ids: Sequence[int] = tokenizer(meaning, add_special_tokens=False)["input_ids"]
    return ids


def whole_embeddings(model: Any, section: ModelSection) -> list[Any]:
    """The weights that must learn when the vocabulary grows: embeddings and head; none when it does not."""
    if not grows(section):
        return []
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    return [end.weight for end in ends if end is not None]


def fit_to_adapter(model: Any, rows: int, folder: Path) -> None:
    """Let the embeddings have as many rows as the whole ones that the adapter in a folder brings.

    An adapter with more rows than its tokenizer needs is for another model; what checks it will say so.
    """
    have = model.get_input_embeddings().weight.shape[0]
    if have < rows and have <= highest_token(folder) < rows:
        model.resize_token_embeddings(rows, mean_resizing=False)


def highest_token(folder: Path) -> int:
    """The highest id among the added tokens of the tokenizer saved in a folder, -1 without any."""
    path = folder / "tokenizer.json"
    return max((word["id"] for word in _added(path)), default=-1) if path.is_file() else -1


def _added(path: Path) -> list[dict[str, Any]]:
    """The added tokens of a tokenizer's file, by id. Raises ModelError."""
    words = read_json(path, largest=LARGEST).get("added_tokens") or []
    if not all(isinstance(w, dict) and type(w.get("id")) is int and isinstance(w.get("content"), str) for w in words):
        raise ModelError.one("TOKENIZER", "its added_tokens are no list of tokens", str(path), "fetch it again")
    return sorted(words, key=lambda word: int(word["id"]))
