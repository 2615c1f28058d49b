"""One row as the model will see it: every token, whether it is learned, and why."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.data.book import look_up
from hone.data.load import BROKEN
from hone.data.places import brought
from hone.data.prepare import gatherer_of, limits_of
from hone.data.preview.ink import Token, inked
from hone.data.row import BadRow
from hone.data.sources import files_at, read_rows
from hone.data.stage import Encoded, StageEncoding
from hone.data.worth import nothing_to_learn
from hone.errors import DataError

if TYPE_CHECKING:
    from hone.recipe import DataSection


@dataclass(frozen=True)
class Shown:
    """A row of a data set in tokens; `lost` were cut off. `segments`: how many tokens each segment has (a pair has
    two). `dropped`: why the row would be left out of training, if it would."""

    dataset: str
    file: str
    row: int
    template: str
    tokens: tuple[Token, ...]
    segments: tuple[int, ...]
    lost: int = 0
    dropped: str = ""

    @property
    def learned(self) -> int:
        """How many tokens carry a label."""
        return sum(token.learned for token in self.tokens)


def show(data: DataSection, stage: StageEncoding, encoder: Any, *, cache_dir: Path, row: int | None = None) -> Shown:
    """Row `row` (from 1) of the first data set; left out, the first that would be trained on.

    Raises DataError when there is no such row, or it is broken.
    """
    entry = brought(look_up([*data.dataset, *data.eval_dataset][:1], data.dataset_dir)[0], cache_dir)
    gatherer = gatherer_of(entry, stage, encoder, limits_of(data, stage))
    files = files_at(entry.path)
    rows = read_rows(files)
    for number, found in enumerate(itertools.islice(rows, None if row is None else row), start=1):
        if row is not None and number < row:
            continue
        bad: list[BadRow] = [found] if isinstance(found, BadRow) else []
        record = None if isinstance(found, BadRow) else gatherer.record(found, bad)
        if record is None:
            if row is None:
                continue
            raise DataError.one(bad[0].code, bad[0].what, bad[0].where, BROKEN)
        dropped = nothing_to_learn(record, mask_history=gatherer.limits.mask_history)
        if dropped and row is None:
            continue
        encoded = stage.encode([record], encoder, gatherer.limits)[0]
        return _shown(entry.name, found.file, number, record, encoded, gatherer, dropped)
    what = f"no row {row}" if row else "no row that could be trained on"
    raise DataError.one("DATA-ROW", what, f"{entry.name} ({files[0]})", "give another number")


def _shown(name: str, file: str, number: int, record: Any, encoded: Encoded, gatherer: Any, dropped: str) -> Shown:
    tokens = inked(record, gatherer.stage, gatherer.encoder, gatherer.limits)
    return Shown(
        dataset=name,
        file=file,
        row=number,
        template=gatherer.encoder.template.name,
        tokens=tuple(tokens),
        segments=encoded.example.lengths,
        lost=encoded.lost,
        dropped=dropped,
    )
