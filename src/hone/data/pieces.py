"""Encoded examples as flat arrays: written once, part by part, and read back memory-mapped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hone.data.references import read, written
from hone.dialogue.example import Example, learned

FILES = {
    "input_ids": "<i4",
    "labels": "<i4",
    "offsets": "<i8",
    "segments": "<i4",
    "segment_offsets": "<i8",
    "learned": "<i4",
    "rows": "<i8",
    "digests": "<u8",
    "media": "u1",
    "media_offsets": "<i8",
}
"""Arrays and their types, raw in `<name>.bin`, so that a file grows at its end; of offsets the lengths are written."""
MAPPED = ("input_ids", "labels", "media")
"""The long ones: memory-mapped, never read as a whole."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """n examples. `offsets` [n+1] cuts the token arrays, `segment_offsets` [n+1] cuts `segments` (their lengths).

    `media_offsets` [n+1] cuts `media`: where the media of an example lie, as JSON, nothing where it has none.
    `learned` [n]: tokens that an example teaches. `rows` [n]: the row it came from. `digests` [n]: its record's hash.
    """

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    offsets: NDArray[np.int64]
    segments: NDArray[np.int32]
    segment_offsets: NDArray[np.int64]
    learned: NDArray[np.int32]
    rows: NDArray[np.int64]
    digests: NDArray[np.uint64]
    media: NDArray[np.uint8]
    media_offsets: NDArray[np.int64]

    @classmethod
    def of(cls, examples: Sequence[Example], rows: Sequence[int] = (), digests: Sequence[int] = ()) -> Pieces:
        """Examples in memory."""
        count = len(examples)
        media = [written(example.media) for example in examples]
        return cls(
            input_ids=_joined([example.input_ids for example in examples]),
            labels=_joined([example.labels for example in examples]),
            offsets=ends_of([len(example.input_ids) for example in examples]),
            segments=np.array([length for example in examples for length in example.lengths], dtype=np.int32),
            segment_offsets=ends_of([len(example.lengths) for example in examples]),
            learned=learned(examples),
            rows=np.array(rows if len(rows) else range(1, count + 1), dtype=np.int64),
            digests=np.array(digests if len(digests) else [0] * count, dtype=np.uint64),
            media=np.frombuffer(b"".join(media), dtype=np.uint8),
            media_offsets=ends_of([len(one) for one in media]),
        )

    @classmethod
    def open(cls, folder: Path) -> Pieces:
        """Examples as they lie in `folder`. Raises OSError or ValueError when files are missing or damaged."""
        arrays: dict[str, Any] = {}
        for name, kind in FILES.items():
            path = folder / f"{name}.bin"
            values = _mapped(path, kind) if name in MAPPED else np.fromfile(path, dtype=kind)
            arrays[name] = ends_of(values) if name.endswith("offsets") else values
        return cls(**arrays)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> Example:
        tokens = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        cuts = slice(int(self.segment_offsets[number]), int(self.segment_offsets[number + 1]))
        lengths = tuple(self.segments[cuts].tolist())
        media = self.media[int(self.media_offsets[number]) : int(self.media_offsets[number + 1])]
        return Example(
            self.input_ids[tokens], self.labels[tokens], lengths, read(media.tobytes()) if len(media) else ()
        )


class Writer:
    """Appends pieces to the files of a folder. `kept`: sizes of the files up to which they are gone on with."""

    def __init__(self, folder: Path, kept: Mapping[str, int] | None = None) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {
            name: (folder / f"{name}.bin").open("r+b" if kept else "wb") for name in FILES
        }
        for name, size in (kept or {}).items():
            self._files[name].truncate(size)
            self._files[name].seek(size)

    def append(self, pieces: Pieces) -> None:
        """Add the examples of `pieces` at the end."""
        for name, stream in self._files.items():
            values = getattr(pieces, name)
            lengths = np.diff(values) if name.endswith("offsets") else values
            stream.write(np.ascontiguousarray(lengths, dtype=FILES[name]).data)

    def flushed(self) -> dict[str, int]:
        """The sizes of the files, after all is handed to the system."""
        for stream in self._files.values():
            stream.flush()
        return {name: stream.tell() for name, stream in self._files.items()}

    def close(self) -> None:
        """Finish the files."""
        for stream in self._files.values():
            stream.close()


def ends_of(lengths: Sequence[int] | NDArray) -> NDArray[np.int64]:
    """Where stretches of these lengths begin and end: [n+1], from 0."""
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(np.asarray(lengths, dtype=np.int64), out=ends[1:])
    return ends


def blocks_of(examples: Iterable[Example], size: int) -> Iterable[Pieces]:
    """Examples gathered into pieces of `size` examples, so that long streams stay out of memory."""
    held: list[Example] = []
    for example in examples:
        held.append(example)
        if len(held) >= size:
            yield Pieces.of(held)
            held = []
    if held:
        yield Pieces.of(held)


def _joined(arrays: Sequence[NDArray]) -> NDArray[np.int32]:
    return np.concatenate(arrays).astype(np.int32, copy=False) if arrays else np.empty(0, dtype=np.int32)


def _mapped(path: Path, kind: str) -> NDArray[Any]:
    # An empty file cannot be mapped.
    if path.stat().st_size == 0:
        return np.empty(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r")
