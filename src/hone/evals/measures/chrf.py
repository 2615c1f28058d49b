"""chrF of the whole set, over characters, as sacrebleu counts it and signs it."""

from __future__ import annotations

from collections.abc import Sequence

from hone.evals.answered import Answered, Measured, ReadCalls
from hone.evals.sacre import sacrebleu


def need() -> None:
    """Raise MachineError where sacrebleu is missing."""
    sacrebleu()


def measure(answers: Sequence[Answered], _: ReadCalls) -> Measured:
    """chrF2."""
    metric = sacrebleu().CHRF()
    wanted = [one.label.strip() for one in answers]
    found = metric.corpus_score([one.predict.strip() for one in answers], [wanted])
    return Measured(together={"chrf": float(found.score)}, note=f"chrf: sacrebleu {metric.get_signature()}")
