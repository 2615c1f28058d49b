"""What a run was made from, as plain values: what its checkpoints carry, and what is compared when it is taken up."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.recipe import Recipe, as_dict

if TYPE_CHECKING:
    from hone.data.prepare import Prepared

HEAD = 1 << 20


def facts_of(recipe: Recipe, prepared: Prepared, *, encoder: str, model: str | None) -> dict[str, Any]:
    """The recipe's keys that decide what is learned, and marks of data, encoding, base model and processes.

    `encoder` is the fingerprint of template and tokenizer, `model` that of the base model.
    """
    from hone.training.checkpoints.sameness import comparable

    return comparable(
        as_dict(recipe),
        data=mark_of(prepared),
        encoding=encoder,
        model=model,
        processes=int(os.environ.get("WORLD_SIZE", "1") or 1),
    )


def mark_of(prepared: Prepared) -> str | None:
    """A hash of what is trained on: of every record and its length, or of a stream's files (names, sizes, heads)."""
    whole = hashlib.sha256()
    if prepared.stream is not None:
        for piece in _heads(prepared.stream):
            whole.update(piece)
    elif prepared.train is not None:
        examples = prepared.train
        for values in (examples.lengths, examples.learned, examples.digests):
            whole.update(values.tobytes())
    else:
        return None
    return whole.hexdigest()[:16]


def _heads(stream: Any) -> Iterator[bytes]:
    from hone.data.sources import files_at

    for source in stream.sources:
        for file in files_at(source.gatherer.entry.path):
            path = Path(file)
            yield f"{path.name}\0{path.stat().st_size}\0".encode()
            with path.open("rb") as stream_of_file:
                yield stream_of_file.read(HEAD)
