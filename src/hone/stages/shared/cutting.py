"""Micro-batches cut in two where what belongs to tokens and to answers is cut with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from hone.data.batch import cut
from hone.dialogue.example import IGNORED
from hone.stages.shared.scores import ROW, row_of

if TYPE_CHECKING:
    from hone.training.stage import Batch


def cut_rows(batch: Batch, *, by_token: Collection[str] = (), by_answer: Collection[str] = ()) -> Sequence[Batch]:
    """A flattened batch in two, between answers; nothing where there is one. `by_token` names tensors [N] that have a
    number for each label, `by_answer` those [S] with one for each answer; all others go whole into both."""
    halves = cut(row_of(batch))
    if not halves:
        return ()
    answers = len(halves[0]["cu_seqlens"]) - 1
    tokens = int((halves[0]["labels"] != IGNORED).sum())
    left: dict[str, Any] = {name: value for name, value in batch.items() if name not in ROW}
    right = dict(left)
    for names, place in ((by_token, tokens), (by_answer, answers)):
        for name in set(names) & set(left):
            left[name], right[name] = batch[name][:place], batch[name][place:]
    return {**left, **halves[0]}, {**right, **halves[1]}
