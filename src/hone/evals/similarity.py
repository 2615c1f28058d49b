"""How alike an answer and its reference are: BLEU-4 over characters, ROUGE-1, -2 and -l over words, times 100."""

from __future__ import annotations

import importlib
import logging
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from typing import Any

from hone.errors import MachineError

MEASURES = ("rouge-1", "rouge-2", "rouge-l", "bleu-4")
ORDERS = 4


def similarity(prediction: str, label: str) -> dict[str, float]:
    """The four measures of one answer, each between 0 and 100, rounded to 4 digits. Words are those that jieba finds.

    Raises MachineError when jieba is not installed.
    """
    said, wanted = _words(prediction), _words(label)
    found = {"rouge-1": 0.0, "rouge-2": 0.0, "rouge-l": 0.0}
    if said and wanted:
        found = {"rouge-1": rouge(said, wanted, 1), "rouge-2": rouge(said, wanted, 2), "rouge-l": rouge_l(said, wanted)}
    found["bleu-4"] = bleu(prediction, label)
    return {name: round(value * 100, 4) for name, value in found.items()}


def mean_similarity(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """The mean of each measure over pairs of answer and reference; empty without any."""
    found = [similarity(prediction, label) for prediction, label in pairs]
    return {name: sum(one[name] for one in found) / len(found) for name in MEASURES} if found else {}


def rouge(said: Sequence[str], wanted: Sequence[str], order: int) -> float:
    """F1 of the different word sequences of this length."""
    one, other = set(_sequences(said, order)), set(_sequences(wanted, order))
    return _f1(len(one & other), len(one), len(other))


def rouge_l(said: Sequence[str], wanted: Sequence[str]) -> float:
    """F1 of the longest common subsequence."""
    return _f1(_common(said, wanted), len(said), len(wanted))


def bleu(prediction: str, label: str) -> float:
    """Sentence BLEU of characters up to four, smoothed: the k-th order without a hit counts as 1 / (2^k n) hits (Chen
    and Cherry 2014, method 3). 0 when no character is right."""
    hits, totals = [], []
    for order in range(1, ORDERS + 1):
        said, wanted = Counter(_sequences(prediction, order)), Counter(_sequences(label, order))
        hits.append(sum((said & wanted).values()))
        totals.append(max(sum(said.values()), 1))
    if not hits[0]:
        return 0.0
    logs, misses = 0.0, 0
    for hit, total in zip(hits, totals, strict=True):
        misses += not hit
        logs += math.log((hit or 0.5**misses) / total)
    return _brevity(len(prediction), len(label)) * math.exp(logs / ORDERS)


def token_accuracy(predictions: Sequence[int], labels: Sequence[int], *, ignored: int = -100) -> float:
    """The share of labels that are the likeliest token [T] at the place before them; nan where nothing is a label."""
    pairs = [(said, label) for said, label in zip(predictions[:-1], labels[1:], strict=True) if label != ignored]
    return sum(said == label for said, label in pairs) / len(pairs) if pairs else math.nan


def _brevity(said: int, wanted: int) -> float:
    return 1.0 if said > wanted else math.exp(1 - wanted / said)


def _f1(hits: float, said: int, wanted: int) -> float:
    return 2 * hits / (said + wanted) if said + wanted else 0.0


def _sequences(items: Sequence[Hashable], order: int) -> list[tuple[Hashable, ...]]:
    return [tuple(items[start : start + order]) for start in range(len(items) - order + 1)]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for item in one:
        before = 0
        for place, against in enumerate(other, start=1):
            before, row[place] = row[place], before + 1 if item == against else max(row[place], row[place - 1])
    return row[-1]


def _words(text: str) -> list[str]:
    """The words that jieba finds; spaces count as words only between others."""
    return " ".join(_jieba().cut(text)).split()


@cache
def _jieba() -> Any:
    try:
        jieba = importlib.import_module("jieba")
    except ImportError:
        raise MachineError.one(
            "PACKAGE", "BLEU and ROUGE need jieba", "predict_with_generate", "pip install 'hone-llm[metrics]'"
        ) from None
    jieba.setLogLevel(logging.CRITICAL)
    return jieba
