"""A safetensors file written a tensor at a time, with the bytes that the format's own library gives it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hone.export.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

ORDER = ("float32", "bfloat16", "float16")
"""Formats that are written here, as they follow each other in a file."""
NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


@contextmanager
def one_at_a_time(weights: Weights) -> Iterator[None]:
    """While this lasts, transformers writes each weight when it is made, instead of a file's weights together.

    Raises RuntimeError where a weight with an adapter was not among those written.
    """
    from transformers import modeling_utils

    library, written = modeling_utils.safe_save_file, set[int]()

    def write(tensors: Mapping[str, Tensor], filename: str, metadata: Mapping[str, str] | None = None) -> None:
        written.update(tensor.data_ptr() for tensor in tensors.values())
        if all(_kind(tensor) in ORDER for tensor in tensors.values()):
            write_file(Path(filename), tensors, metadata or {}, weights.pieces)
        else:
            library({name: weights.made(name, tensor) for name, tensor in tensors.items()}, filename, metadata=metadata)

    modeling_utils.safe_save_file = write
    try:
        yield
    finally:
        modeling_utils.safe_save_file = library
    if weights.layers.keys() - written:
        raise RuntimeError(f"{len(weights.layers.keys() - written)} merged weights were written under another form")


def write_file(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    pieces: Callable[[str, Tensor], Iterator[Tensor]],
) -> None:
    """Write tensors of the formats in `ORDER`; `pieces` gives a tensor's numbers, flat, one part after the other."""
    import torch

    names = sorted(tensors, key=lambda name: (ORDER.index(_kind(tensors[name])), name))
    listed: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name in names:
        tensor = tensors[name]
        end = at + tensor.nbytes
        listed[name] = {"dtype": NAMES[_kind(tensor)], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    head = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in names:
            for piece in pieces(name, tensors[name]):
                file.write(piece.view(torch.uint8).numpy())


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
