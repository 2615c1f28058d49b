"""Rows as questions to be answered by generation, each with the answer it had; for data that are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from hone.data.encode import encode_prompt
from hone.data.stage import Encoded, Limits
from hone.dialogue.example import Example
from hone.dialogue.records import Chat


class Asking:
    """An encoding of data (`hone.data.stage.StageEncoding`); nothing is learned from it."""

    name = "predict"
    record: Any = Chat
    joining: Literal["fit", "stream"] = "fit"
    parts = ("question ", "answer ")
    asks = True
    """A row without an answer is kept."""

    def encode(self, records: Sequence[Chat], encoder: Any, limits: Limits) -> list[Encoded]:
        """Two segments each: the question and its answer."""
        return encode_prompt(records, encoder, limits)


def sides(example: Example) -> tuple[list[int], list[int]]:
    """The ids of a question and of the answer that the data have (empty where there is none)."""
    asked = example.lengths[0] if example.lengths else len(example.input_ids)
    ids = example.input_ids.tolist()
    return ids[:asked], ids[asked:]
