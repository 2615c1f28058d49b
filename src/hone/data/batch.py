"""One batch as one flattened row: examples end to end, without padding between them, each blind to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from hone.dialogue.example import IGNORED, Example
from hone.errors import DataError
from hone.models.pictures import between, of_segments

if TYPE_CHECKING:
    from hone.media.viewer import Blind, Viewer

ROWS = ("input_ids", "labels", "position_ids")
"""What of a batch is one number for each token."""
FILLER = 0
"""The token in the tail that rounds a row up. It stands in a segment of its own, without a label: any id will do."""


def collate(
    examples: Sequence[Example], *, pad_to_multiple_of: int | None = None, viewer: Viewer | Blind | None = None
) -> dict[str, torch.Tensor]:
    """Join examples into one row of T tokens in S segments.

    Returns `input_ids` int64 [1, T]; `labels` int64 [1, T], IGNORED at the first token of every segment, so that
    nothing is predicted across a border; `position_ids` int64 [1, T], from 0 in every segment; `cu_seqlens` int32
    [S+1], where segments begin and end. With `pad_to_multiple_of` a last segment of filler rounds T up.
    A `viewer` decodes the examples' media here and adds them, and with them other positions (`Viewer.seen`).
    """
    lengths = np.array([length for example in examples for length in example.lengths if length], dtype=np.int64)
    input_ids = np.concatenate([example.input_ids for example in examples])
    labels = np.concatenate([example.labels for example in examples])
    rest = -len(input_ids) % (pad_to_multiple_of or 1)
    if rest:
        lengths = np.append(lengths, rest)
        input_ids = np.pad(input_ids, (0, rest), constant_values=FILLER)
        labels = np.pad(labels, (0, rest), constant_values=IGNORED)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    labels = labels.copy()
    labels[starts] = IGNORED
    media = [medium for example in examples for medium in example.media]
    if media and viewer is None:
        raise DataError.one("DATA-MEDIA", "examples with media, where nothing sees them")
    return {
        "input_ids": _row(input_ids),
        "labels": _row(labels),
        "position_ids": _row(np.arange(len(input_ids)) - np.repeat(starts, lengths)),
        "cu_seqlens": torch.from_numpy(np.append(0, ends).astype(np.int32)),
        **(viewer.seen(input_ids, ends, media) if viewer is not None else {}),
    }


def cut(batch: Mapping[str, torch.Tensor], *, together: int = 1) -> tuple[dict[str, torch.Tensor], ...]:
    """A batch of `collate` in two, at the border nearest its middle; segments that belong `together` stay so.

    Nothing where there is only one segment, or one such group.
    """
    ends = batch["cu_seqlens"]
    borders = ends[together:-1:together]
    if not len(borders):
        return ()
    place = int((borders - ends[-1] / 2).abs().argmin())
    border, segment = int(borders[place]), (place + 1) * together
    first = {**{key: batch[key][..., :border] for key in ROWS}, "cu_seqlens": ends[: segment + 1]}
    second = {**{key: batch[key][..., border:] for key in ROWS}, "cu_seqlens": ends[segment:] - ends[segment]}
    return first | between(batch, 0, segment), second | between(batch, segment, len(ends) - 1)


def picked(batch: Mapping[str, torch.Tensor], segments: Sequence[int]) -> dict[str, torch.Tensor]:
    """Some segments of a batch of `collate`, in this order, with their pictures."""
    ends = batch["cu_seqlens"].tolist()
    spans = [slice(ends[one], ends[one + 1]) for one in segments]
    lengths = [span.stop - span.start for span in spans]
    return {
        **{key: torch.cat([batch[key][..., span] for span in spans], dim=-1) for key in ROWS},
        "cu_seqlens": torch.from_numpy(np.cumsum([0, *lengths]).astype(np.int32)),
        **of_segments(batch, segments),
    }


def _row(values: NDArray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))[None]
