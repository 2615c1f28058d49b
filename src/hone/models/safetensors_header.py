"""The header of a safetensors file, read with care before any library maps the file."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hone.errors import ModelError

LARGEST_HEADER = 16 << 20
"""Bytes; the largest real headers are a few MB."""

# fmt: off
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}
# fmt: on


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies: `start` and `stop` are bytes from the beginning of the file at `path`."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: Path) -> Mapping[str, StoredTensor]:
    """The tensors of a file by name, every claim held against the file's size; the weights are not read.

    Raises ModelError, naming the tensor where there is one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, LARGEST_HEADER):
            _bad(path, f"not a safetensors file{looks_like(start)}, or its header is cut off or too long")
        raw = file.read(length)
    listed = _parsed(path, raw)
    listed.pop("__metadata__", None)
    tensors = {name: _tensor(path, name, entry, 8 + length) for name, entry in listed.items()}
    _check_cover(path, tensors, 8 + length, size)
    return tensors


def looks_like(start: bytes) -> str:
    """A guess at what a file with these first bytes really is, as the middle of a sentence."""
    kinds = {b"PK\x03\x04": "a zip archive or a PyTorch pickle", b"\x80": "a pickle", b"GGUF": "a GGUF file",
             b"version ": "a pointer of Git LFS, not the file itself", b"<": "a web page", b"{": "JSON"}  # fmt: skip
    return next((f" (it looks like {kind})" for magic, kind in kinds.items() if start.startswith(magic)), "")


def _bad(path: Path, what: str) -> NoReturn:
    raise ModelError.one("SAFETENSORS-BAD", what, str(path), "fetch the file again, or make it anew")


def _parsed(path: Path, raw: bytes) -> dict[str, Any]:
    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"{key!r} is listed twice")
            found[key] = value
        return found

    def no_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not a value")

    try:
        listed = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError) as reason:
        _bad(path, f"the header is not clean JSON ({reason})")
    if not isinstance(listed, dict):
        _bad(path, "the header is not a JSON object")
    return listed


def _tensor(path: Path, name: str, entry: Any, data: int) -> StoredTensor:
    try:
        dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = (*shape, start, stop)
        if not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
            raise TypeError
    except (TypeError, KeyError, ValueError):
        _bad(path, f"the tensor {name!r} has no proper dtype, shape and data_offsets")
    if dtype not in BITS:
        _bad(path, f"the tensor {name!r} has the unknown dtype {dtype!r}")
    bits = math.prod(shape) * BITS[dtype]
    if bits != (stop - start) * 8:
        _bad(path, f"the tensor {name!r} of {dtype} {list(shape)} needs {bits // 8} bytes but spans {stop - start}")
    return StoredTensor(path, dtype, shape, data + start, data + stop)


def _check_cover(path: Path, tensors: Mapping[str, StoredTensor], start: int, size: int) -> None:
    """The tensors lie end to end, and fill the file."""
    at = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if tensor.start != at:
            what = "overlaps the one before it" if tensor.start < at else "leaves a gap before it"
            _bad(path, f"the tensor {name!r} {what} ({tensor.start} instead of {at})")
        at = tensor.stop
    if at != size:
        _bad(path, f"the tensors end at byte {at}, the file at {size}: it is {'cut off' if at > size else 'too long'}")
