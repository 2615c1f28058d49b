"""What is known of a tokenizer's steps before its model: where they cut a text, and whether that could be done here."""

from __future__ import annotations

import json
from typing import Any

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TRIPLE = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}{_REST}"
SINGLE = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{_REST}"
PATTERNS = {TRIPLE, SINGLE}
"""Ways to cut a text (of Llama 3 and Qwen) in which a single space between two words begins a piece, and nothing
before it looks beyond it. So it is with the way of GPT-2, which `ByteLevel` has built in."""

IDEOGRAMS = "\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
"""Chinese, Japanese and Korean letters of three bytes each."""
LETTERS = f"A-Za-zÀ-ÖØ-öø-ÿА-яЁё{IDEOGRAMS}"
MARKS = r"!-/:-@\[-`{-~‘’“”…—、。！（），：；？《》「」【】"
"""Letters and marks that are such in every version of Unicode, and which no normal form changes."""


def words_stand_alone(backend: Any) -> bool:
    """Whether the ids of a text are those of its words, cut before single spaces, one after the other."""
    if type(backend.model).__name__ != "BPE" or backend.model.dropout or backend.truncation or backend.padding:
        return False
    normal, steps = _state(backend.normalizer), _steps(_state(backend.pre_tokenizer))
    if any(_reaches_out(token, normalised=bool(normal)) for token in backend.get_added_tokens_decoder().values()):
        return False
    return (
        (not normal or normal["type"] == "NFC")
        and bool(steps)
        and steps[-1]["type"] == "ByteLevel"
        and all(map(_begins_at_spaces, steps))
    )


def digits_stand_alone(backend: Any) -> bool:
    """Whether every digit is a piece of its own."""
    return any(
        step["individual_digits"] if step["type"] == "Digits" else step.get("pattern", {}).get("Regex") == SINGLE
        for step in _steps(_state(backend.pre_tokenizer))
    )


def cut_of(backend: Any, *, digits_apart: bool) -> str | None:
    """The expression that finds the pieces of a text of `LETTERS`, `MARKS`, digits and usual white space; None where it
    is not known. `digits_apart`: no piece need hold two digits."""
    steps = _steps(_state(backend.pre_tokenizer))
    kinds = [step["type"] for step in steps]
    if kinds == ["Split", "ByteLevel"] and not steps[1]["use_regex"] and not steps[0]["invert"]:
        digits = {SINGLE: "[0-9]", TRIPLE: "[0-9]" if digits_apart else "[0-9]{1,3}"}.get(steps[0]["pattern"]["Regex"])
        return digits and (
            rf"{_CONTRACTIONS}|[ \t{MARKS}]?[{LETTERS}]+|{digits}| ?[{MARKS}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    if kinds in (["ByteLevel"], ["Digits", "ByteLevel"]) and steps[-1]["use_regex"]:
        # Where digits are cut off first, white space before them stands at the end of a text of its own.
        lead, ends = (" ?", r"\S") if kinds == ["ByteLevel"] else ("", r"[^\s0-9]")
        alone = digits_apart or steps[0].get("individual_digits", False)
        digits = f"{lead}[0-9]" if alone else f"{lead}[0-9]+"
        return rf"'s|'t|'re|'ve|'m|'ll|'d| ?[{LETTERS}]+|{digits}| ?[{MARKS}]+|\s+(?!{ends})|\s+"
    return None


def _state(step: Any) -> dict[str, Any]:
    if step is None:
        return {}
    try:
        found: dict[str, Any] = json.loads(step.__getstate__())
    except TypeError:
        return {"type": "unknown"}
    return found


def _steps(step: dict[str, Any]) -> list[dict[str, Any]]:
    return step["pretokenizers"] if step.get("type") == "Sequence" else [step] if step else []


def _begins_at_spaces(step: dict[str, Any]) -> bool:
    """Whether the step begins a new piece at each single space between two words."""
    if step["type"] == "Digits":
        return True
    if step["type"] == "ByteLevel":
        return not step["add_prefix_space"]
    return bool(
        step["type"] == "Split"
        and step["behavior"] == "Isolated"
        and not step["invert"]
        and step["pattern"].get("Regex") in PATTERNS
    )


def _reaches_out(token: Any, *, normalised: bool) -> bool:
    """Whether an added token is found by more than its letters, or has a space in them."""
    flags = token.lstrip or token.rstrip or token.single_word or (token.normalized and normalised)
    return bool(flags) or any(letter.isspace() for letter in token.content)
