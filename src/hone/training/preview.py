"""The first example as the model will see it, shown before training so that a person can check it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hone.dialogue.example import IGNORED, Example


def preview(example: Example, tokenizer: Any, title: str = "training example:", parts: Sequence[str] = ("",)) -> str:
    """Ids, the text they stand for, the labels, and the text that is learned, of the example's first segments, which
    `parts` name (`chosen_`, `rejected_`)."""
    borders = [sum(example.lengths[:count]) for count in range(len(parts) + 1)]
    lines = [title]
    for name, (start, end) in zip(parts, pairwise(borders), strict=True):
        ids = example.input_ids[start:end].tolist()
        labels = example.labels[start:end].tolist()
        learned = [label for label in labels if label != IGNORED]
        lines += [
            f"{name}input_ids:\n{ids}",
            f"{name}inputs:\n{tokenizer.decode(ids, skip_special_tokens=False)}",
            f"{name}label_ids:\n{labels}",
            f"{name}labels:\n{tokenizer.decode(learned, skip_special_tokens=False)}",
        ]
    return "\n".join(lines)
