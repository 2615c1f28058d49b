"""BLEU of the whole set, over words, as sacrebleu counts it and signs it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hone.evals.answered import Answered, Measured, ReadCalls
from hone.evals.sacre import sacrebleu

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def need() -> None:
    """Raise MachineError where sacrebleu is missing."""
    sacrebleu()


def measure(answers: Sequence[Answered], _: ReadCalls) -> Measured:
    """With the tokenizer of WMT (13a), or that for Chinese where most references are Chinese."""
    wanted = [one.label.strip() for one in answers]
    chinese = sum(bool(CHINESE.search(text)) for text in wanted) * 2 > len(wanted)
    metric = sacrebleu().BLEU(tokenize="zh" if chinese else "13a")
    found = metric.corpus_score([one.predict.strip() for one in answers], [wanted])
    return Measured(together={"bleu": float(found.score)}, note=f"bleu: sacrebleu {metric.get_signature()}")
