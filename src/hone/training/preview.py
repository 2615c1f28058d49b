"""The first example as the model will see it, shown before training so that a person can check it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from hone.dialogue.example import IGNORED, Example

LONG = 16
"""Equal tokens in a row from which on an example with media shows them once, with their number."""


def preview(example: Example, tokenizer: Any, title: str = "training example:", parts: Sequence[str] = ("",)) -> str:
    """Ids, the text they stand for, the labels, and the text that is learned, of the example's first segments, which
    `parts` name (`chosen_`, `rejected_`). With media a long run of one token is shown once, with its number."""
    listed, read = (_listed, _read) if example.media else (str, _whole)
    borders = [sum(example.lengths[:count]) for count in range(len(parts) + 1)]
    lines = [title]
    for name, (start, end) in zip(parts, pairwise(borders), strict=True):
        ids = example.input_ids[start:end].tolist()
        labels = example.labels[start:end].tolist()
        learned = [label for label in labels if label != IGNORED]
        lines += [
            f"{name}input_ids:\n{listed(ids)}",
            f"{name}inputs:\n{read(ids, tokenizer)}",
            f"{name}label_ids:\n{listed(labels)}",
            f"{name}labels:\n{_whole(learned, tokenizer)}",
        ]
    return "\n".join(lines)


def _runs(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Each id that differs from the one before it, and how often it follows itself."""
    return [(token, sum(1 for _ in run)) for token, run in groupby(ids)]


def _listed(ids: Sequence[int]) -> str:
    """As Python writes a list, but long runs as `id x count`."""
    words = [[f"{token} x {count}"] if count >= LONG else [str(token)] * count for token, count in _runs(ids)]
    return f"[{', '.join(word for run in words for word in run)}]"


def _whole(ids: Sequence[int], tokenizer: Any) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def _read(ids: Sequence[int], tokenizer: Any) -> str:
    """The text of the ids, long runs as `token x count` in brackets."""
    pieces: list[str] = []
    waiting: list[int] = []
    for token, count in _runs(ids):
        if count < LONG:
            waiting += [token] * count
            continue
        pieces.append(_whole(waiting, tokenizer))
        pieces.append(f"[{_whole([token], tokenizer)} x {count}]")
        waiting = []
    return "".join((*pieces, _whole(waiting, tokenizer)))
