"""Pairs and judged answers of random tokens, and what a stage's loss and gradients are on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hone.data.feedback import marked
from hone.dialogue.example import IGNORED, Example
from hone.training import exactness
from hone.training.exactness import Outcome


def draw_pairs(count: int, *, seed: int = 0) -> list[Example]:
    """Pairs of segments with one prompt and two answers of different lengths."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        prompt = draw.integers(5, 300, int(draw.integers(2, 9)))
        answers = [draw.integers(5, 300, int(draw.integers(1, 12))) for _ in range(2)]
        ids = np.concatenate([np.concatenate([prompt, answer]) for answer in answers])
        hidden = np.full(len(prompt), IGNORED)
        labels = np.concatenate([np.concatenate([hidden, answer]) for answer in answers])
        lengths = tuple(len(prompt) + len(answer) for answer in answers)
        made.append(Example(ids.astype(np.int32), labels.astype(np.int32), lengths))
    return made


def draw_judged(count: int, *, seed: int = 0) -> list[Example]:
    """Answers of which every second one was liked."""
    return [marked(example, good=number % 2 == 0) for number, example in enumerate(draw_pairs(count, seed=seed))]


def join(examples: Sequence[Example]) -> Example:
    """Several examples as one pack."""
    return Example(
        np.concatenate([one.input_ids for one in examples]),
        np.concatenate([one.labels for one in examples]),
        tuple(length for one in examples for length in one.lengths),
    )


DRAWN = {"dpo": draw_pairs, "rm": draw_pairs, "kto": draw_judged}


def outcome(stage: Any, model: Any, batches: Sequence[Sequence[Example]]) -> Outcome:
    """The mean loss over all items of the batches, and its gradients."""
    return exactness.outcome(stage, model, [stage.collate(examples) for examples in batches])


def assert_same(one: Outcome, other: Outcome, *, rel: float = 1e-5) -> None:
    """Equal losses and gradients, within the rounding of float32."""
    assert exactness.apart(one, other, rel=rel).what == ""
