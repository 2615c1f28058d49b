"""What the data path asks of a stage: which records it eats and how one becomes examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hone.dialogue.example import Example
from hone.dialogue.records import Record


@dataclass(frozen=True)
class Limits:
    """How long an example may be, in tokens, and what of it is learned.

    `stream`: examples are run on into blocks later, and so are not cut one by one. `on_overflow`: whether a longer one
    is cut, dropped, or ends the run.
    """

    cutoff_len: int
    train_on_prompt: bool = False
    mask_history: bool = False
    stream: bool = False
    on_overflow: Literal["truncate", "drop", "error"] = "truncate"


@dataclass(frozen=True)
class Encoded:
    """One record as an example, and how many tokens were cut off: all, and those that would have been learned.

    A pair (a better and a worse answer) is one example of two segments.
    """

    example: Example
    lost: int = 0
    lost_learned: int = 0


class StageEncoding(Protocol):
    """A stage as the data path sees it.

    `joining` says what `packing` does: "fit" puts whole examples together, each its own segment; "stream" runs texts
    on, end to end, and cuts the stream into blocks.
    """

    name: str
    record: type[Record]  # type: ignore[type-arg]
    joining: Literal["fit", "stream"]

    def encode(self, records: Sequence[Any], encoder: Any, limits: Limits) -> list[Encoded]:
        """A batch of records, one `Encoded` each. Pure, and the stage is picklable: worker processes run it."""
        ...
