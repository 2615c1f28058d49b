"""Which base model is this: a short fingerprint of its weights, the same wherever they lie and however they are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from hone.models.gguf import find_gguf
from hone.models.gguf_header import read_header
from hone.models.preflight import read_config
from hone.models.shards import read_weights

SAMPLE = 64
"""Bytes read at the start, the middle and the end of each tensor."""


def base_fingerprint(path: Path) -> str:
    """32 hexadecimal digits for a model folder or GGUF file, from its kind and the names, types, shapes
    and samples of its tensors.

    Takes milliseconds whatever the size. Moving or cutting into other shards does not change it; training, another
    precision or another model does. Raises ModelError when the files are broken.
    """
    digest = hashlib.sha256(_kind(path).encode())
    for name, place, start, stop, kind in sorted(_tensors(path)):
        digest.update(f"{name}\0{kind}\0{stop - start}\0".encode())
        middle = (start + stop) // 2
        with place.open("rb") as file:
            for at in (start, middle, max(start, stop - SAMPLE)):
                file.seek(at)
                digest.update(file.read(min(SAMPLE, stop - at)))
    return digest.hexdigest()[:32]


def _kind(path: Path) -> str:
    """Equal numbers in another kind of model are another model."""
    gguf = find_gguf(path)
    return read_header(gguf).architecture if gguf else str(read_config(path).get("model_type"))


def _tensors(path: Path) -> Iterator[tuple[str, Path, int, int, str]]:
    gguf = find_gguf(path)
    if gguf is None:
        for name, stored in read_weights(path).items():
            yield name, stored.path, stored.start, stored.stop, f"{stored.dtype}{list(stored.shape)}"
        return
    header = read_header(gguf)
    for tensor in header.tensors:
        start = header.data_start + tensor.offset
        yield tensor.name, gguf, start, start + tensor.size, f"{tensor.type}{list(tensor.shape)}"
