"""The first example as the model will see it, shown before training so that a person can check it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from hone.dialogue.example import IGNORED, Example

LONG = 16
"""Equal tokens in a row from which on they are shown once, with their number: the places of a picture, say."""


def preview(example: Example, tokenizer: Any, title: str = "training example:", parts: Sequence[str] = ("",)) -> str:
    """Ids, the text they stand for, the labels, and the text that is learned, of the example's first segments, which
    `parts` name (`chosen_`, `rejected_`). A long run of one token is shown once, with its number."""
    borders = [sum(example.lengths[:count]) for count in range(len(parts) + 1)]
    lines = [title]
    for name, (start, end) in zip(parts, pairwise(borders), strict=True):
        ids = example.input_ids[start:end].tolist()
        labels = example.labels[start:end].tolist()
        learned = [label for label in labels if label != IGNORED]
        lines += [
            f"{name}input_ids:\n{_listed(ids)}",
            f"{name}inputs:\n{_read(ids, tokenizer)}",
            f"{name}label_ids:\n{_listed(labels) if _has_long(ids) else labels}",
            f"{name}labels:\n{tokenizer.decode(learned, skip_special_tokens=False)}",
        ]
    return "\n".join(lines)


def _runs(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Each id that differs from the one before it, and how often it follows itself."""
    return [(token, sum(1 for _ in run)) for token, run in groupby(ids)]


def _has_long(ids: Sequence[int]) -> bool:
    return any(count >= LONG for _, count in _runs(ids))


def _listed(ids: Sequence[int]) -> str:
    """As Python writes a list, but long runs as `id x count`."""
    words = [[f"{token} x {count}"] if count >= LONG else [str(token)] * count for token, count in _runs(ids)]
    return f"[{', '.join(word for run in words for word in run)}]"


def _read(ids: Sequence[int], tokenizer: Any) -> str:
    """The text of the ids, long runs as `token x count` in brackets."""
    pieces: list[str] = []
    waiting: list[int] = []
    for token, count in _runs(ids):
        if count < LONG:
            waiting += [token] * count
            continue
        pieces.append(tokenizer.decode(waiting, skip_special_tokens=False))
        pieces.append(f"[{tokenizer.decode([token], skip_special_tokens=False)} x {count}]")
        waiting = []
    return "".join((*pieces, tokenizer.decode(waiting, skip_special_tokens=False)))
