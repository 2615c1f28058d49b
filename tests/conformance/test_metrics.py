"""BLEU, ROUGE and their means against the recorded numbers. Words are those of jieba, of the extra `metrics`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from corpus import Tally, cases, needs_corpus

from hone.evals.similarity import bleu, mean_similarity, similarity, token_accuracy

NEEDS_WORDS = "jieba is not installed (the extra `metrics`)"


def fault_of(found: dict[str, float], expect: dict[str, float], *, within: float) -> str | None:
    assert expect
    wrong = {key: (found.get(key), value) for key, value in expect.items() if abs(found[key] - value) > within}
    return str(wrong) if wrong else None


@needs_corpus
def test_answers_are_scored_as_recorded(tally: Tally) -> None:
    pytest.importorskip("jieba", reason=NEEDS_WORDS)
    faults = [
        tally.judge(
            "metrics", case["id"], fault_of(similarity(case["prediction"], case["label"]), case["expect"], within=1e-4)
        )
        for case in cases("metrics")
    ]
    assert not [fault for fault in faults if fault]


@needs_corpus
def test_means_over_a_set_are_as_recorded(tally: Tally) -> None:
    pytest.importorskip("jieba", reason=NEEDS_WORDS)
    faults = [
        tally.judge("metrics_aggregate", case["id"], fault_of(aggregate(case), case["expect"], within=1e-4))
        for case in cases("metrics_aggregate")
    ]
    assert not [fault for fault in faults if fault]


def aggregate(case: dict[str, Any]) -> dict[str, float]:
    if case["kind"] == "similarity_corpus_mean":
        return mean_similarity([(said, wanted) for said, wanted in case["pairs"]])
    found = [token_accuracy(*row) for row in zip(case["argmax_predictions"], case["labels"], strict=True)]
    return {"accuracy": float(np.mean(found))}


def test_characters_are_scored_without_any_package() -> None:
    assert bleu("hello", "hello") == pytest.approx(1.0)
    assert bleu("", "hello") == bleu("xyz", "hello") == 0.0
    assert 0 < bleu("hello there", "hello world") < 1
