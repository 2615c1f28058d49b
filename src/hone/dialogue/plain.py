"""A tokenizer's twin without control tokens: whatever a text looks like, it is tokenised as plain text."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

Encode = Callable[[str, bool], list[int]]
"""(text, whether it stands at the very beginning of a piece) → ids."""


def plain_encoder(tokenizer: Any, backend: Any, control: Collection[str]) -> Encode:
    """Tokenise text so that none of the `control` words comes out as its one token."""
    ids = {tokenizer.convert_tokens_to_ids(word) for word in control}
    encode = _fast_twin(backend, control) if backend is not None else _slow_twin(tokenizer)

    def guarded(text: str, first: bool) -> list[int]:
        made = encode(text, first)
        return made if ids.isdisjoint(made) else _broken_up(encode, text, control, first)

    return guarded


def _broken_up(encode: Encode, text: str, control: Collection[str], first: bool) -> list[int]:
    """For vocabularies that hold a control word as an ordinary one too: cut after its first letter."""
    made: list[int] = []
    rest = text
    while found := min(((rest.find(word), word) for word in control if word in rest), default=None):
        cut = found[0] + 1
        made += encode(rest[:cut], first and not made)
        rest = rest[cut:]
    return [*made, *encode(rest, first and not made)] if rest else made


def _slow_twin(tokenizer: Any) -> Encode:
    """A tokenizer written in Python knows itself how to leave special words alone."""
    return lambda text, first: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


def _fast_twin(backend: Any, control: Collection[str]) -> Encode:
    """The same model, normaliser and pre-tokeniser; of the added tokens only those that are ordinary vocabulary."""
    from tokenizers import Tokenizer

    content = json.loads(backend.to_str()) | {"post_processor": None, "truncation": None, "padding": None}
    content["added_tokens"] = [entry for entry in content["added_tokens"] if _stays(entry, content, control)]
    opening = Tokenizer.from_str(json.dumps(content))
    later = opening
    if _drop_first_space(content.get("pre_tokenizer")):
        later = Tokenizer.from_str(json.dumps(content))

    def encode(text: str, first: bool) -> list[int]:  # by `encode_batch`, which lets other threads run meanwhile
        made: list[int] = (opening if first else later).encode_batch([text], add_special_tokens=False)[0].ids
        return made

    return encode


def _stays(entry: Any, content: Any, control: Collection[str]) -> bool:
    """An added token keeps its id without the others only if the model's own vocabulary has it too."""
    vocabulary = content["model"].get("vocab")
    known = isinstance(vocabulary, dict) and vocabulary.get(entry["content"]) == entry["id"]
    return known and entry["content"] not in control


def _drop_first_space(step: Any) -> bool:
    """Make a `Metaspace` that puts a space before the first word only put none; whether there was one."""
    if not isinstance(step, dict):
        return False
    if step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first":
        step["prepend_scheme"] = "never"
        return True
    changed = [_drop_first_space(inner) for inner in step.get("pretokenizers", [])]
    return any(changed)
