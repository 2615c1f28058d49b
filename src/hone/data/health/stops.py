"""Do answers end? The share of learned stretches whose last word is one that stops generation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hone.data.pieces import Pieces
from hone.dialogue.example import IGNORED

AT_ONCE = 1000
"""Examples looked at together."""
BLANKS = 3
"""White-space tokens that may follow the stop token."""


def stop_share(parts: Iterable[Pieces], encoder: Any, *, most: int | None = None) -> tuple[int, int]:
    """(answers that end in a stop token, answers). An answer is a stretch of labels with none missing inside.

    Only the first `most` examples of each part are looked at.
    """
    stops = np.array(sorted(getattr(encoder, "stop_ids", ()) or (encoder.eos_id,)), dtype=np.int64)
    blank = _Blank(encoder.tokenizer)
    ended = answers = 0
    for labels, borders in _windows(parts, most):
        ends = _ends(labels, borders)
        answers += len(ends)
        ended += int(_stopped(labels, ends, stops, blank).sum())
    return ended, answers


def _windows(parts: Iterable[Pieces], most: int | None) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """Labels of some examples at a time, and where their segments end."""
    for pieces in parts:
        count = min(len(pieces), len(pieces) if most is None else most)
        for start in range(0, count, AT_ONCE):
            stop = min(start + AT_ONCE, count)
            labels = np.asarray(pieces.labels[pieces.offsets[start] : pieces.offsets[stop]])
            segments = pieces.segments[pieces.segment_offsets[start] : pieces.segment_offsets[stop]]
            yield labels, np.cumsum(segments, dtype=np.int64)


def _ends(labels: NDArray[np.int32], borders: NDArray[np.int64]) -> NDArray[np.int64]:
    """The last place of every learned stretch."""
    learned = labels != IGNORED
    following = np.concatenate((learned[1:], [False]))
    following[borders[borders > 0] - 1] = False
    return np.flatnonzero(learned & ~following)


def _stopped(
    labels: NDArray[np.int32], ends: NDArray[np.int64], stops: NDArray[np.int64], blank: _Blank
) -> NDArray[np.bool_]:
    """Which stretches end in a stop token, white space after it passed over."""
    places = ends.copy()
    for _ in range(BLANKS):
        white = blank.of(labels[places]) & (places > 0)
        places = np.where(white, places - 1, places)
    stopped: NDArray[np.bool_] = np.isin(labels[places], stops)
    return stopped


class _Blank:
    """Remembers which tokens are white space."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bool] = {}

    def of(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """For each token, whether it is nothing but white space."""
        for token in np.unique(ids).tolist():
            if token not in self._known:
                self._known[token] = token >= 0 and self._is_blank(token)
        return np.array([self._known[token] for token in ids.tolist()], dtype=bool)

    def _is_blank(self, token: int) -> bool:
        decode = getattr(self._tokenizer, "decode", None)
        return decode is not None and decode([token], skip_special_tokens=False).strip(" \t\r\n") == ""
