"""The header of a GGUF file, read with care: every count, length and offset is held against the file's size."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hone.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
UINT32, STRING, ARRAY = 4, 8, 9
LONGEST_NAME = 1 << 16
MOST_DIMENSIONS = 4
AGAIN = "fetch the file again, or make it anew"


@dataclass(frozen=True)
class GgufTensor:
    """A tensor as the header lists it: `shape` innermost first (as GGUF writes it), `type` the number of its format.

    `offset` counts bytes from the header's `data_start`, and `size` is in bytes.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    size: int


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself; an array in `metadata` is replaced by its length, to stay small."""

    metadata: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]
    data_start: int

    @property
    def architecture(self) -> str:
        """Such as `llama`."""
        return str(self.metadata["general.architecture"])


def read_header(path: Path) -> GgufHeader:
    """Read and check the whole header without touching the weights, in well under a second.

    Raises ModelError for anything that does not add up: magic, version, counts, lengths, types, duplicate keys,
    alignment, dimensions, offsets, or data past the end of the file.
    """
    size = path.stat().st_size
    if size < 24:
        raise ModelError.one("GGUF-BAD", f"the file has {size} bytes, too few for a GGUF header", str(path), AGAIN)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Reader(path, data).header()


class _Reader:
    """A cursor over the file that never reads past its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def bad(self, what: str) -> NoReturn:
        raise ModelError.one("GGUF-BAD", what, f"{self.path} byte {self.at}", AGAIN)

    def number(self, form: str) -> Any:
        size = struct.calcsize(form)
        if self.at + size > len(self.data):
            self.bad("the file ends within its header")
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return value

    def text(self, longest: int | None = None) -> str:
        length = self.number("<Q")
        if length > len(self.data) - self.at or (longest is not None and length > longest):
            self.bad(f"a text claims a length of {length} bytes")
        raw = self.data[self.at : self.at + length]
        self.at += length
        return raw.decode("utf-8", errors="replace")

    def header(self) -> GgufHeader:
        if self.data[:4] != MAGIC:
            self.bad(f"not a GGUF file (it starts with {bytes(self.data[:4])!r})")
        self.at = 4
        version = self.number("<I")
        if version not in VERSIONS:
            big = struct.unpack(">I", struct.pack("<I", version))[0] in VERSIONS
            self.bad("the file is big-endian" if big else f"GGUF version {version} is not one of {VERSIONS}")
        tensors, keys = self.number("<Q"), self.number("<Q")
        room = len(self.data) - self.at
        if keys * 13 > room or tensors * 32 > room:
            self.bad(f"the header claims {keys} keys and {tensors} tensors, more than the file can hold")
        metadata = self.metadata(keys)
        listed = self.tensor_list(tensors)
        alignment = self.alignment(metadata)
        start = self.at + -self.at % alignment
        self.check_data(listed, alignment, start)
        return GgufHeader(metadata, listed, start)

    def metadata(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self.text(LONGEST_NAME)
            if not key or key in found:
                self.bad(f"the key {key!r} is empty or given twice")
            kind = self.number("<I")
            if key == "general.alignment" and kind != UINT32:
                self.bad(f"general.alignment has type {kind}, not {UINT32}")
            found[key] = self.value(kind)
        if not isinstance(found.get("general.architecture"), str):
            self.bad("the text general.architecture is missing")
        return found

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            return self.skip_array()
        if kind not in SCALARS:
            self.bad(f"there is no value type {kind}")
        return self.number(SCALARS[kind])

    def skip_array(self) -> int:
        kind, count = self.number("<I"), self.number("<Q")
        room = len(self.data) - self.at
        if kind == STRING:
            if count * 8 > room:
                self.bad(f"an array claims {count} texts, more than the file can hold")
            self.skip_texts(count)
        elif kind in SCALARS:
            size = count * struct.calcsize(SCALARS[kind])
            if size > room:
                self.bad(f"an array claims {count} values, more than the file can hold")
            self.at += size
        else:
            self.bad(f"an array of type {kind} is not allowed")
        return int(count)

    def skip_texts(self, count: int) -> None:
        at, end, read = self.at, len(self.data) - 8, struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at > end:
                self.bad("the file ends within a list of texts")
            at += 8 + read(self.data, at)[0]
        self.at = at
        if at > len(self.data):
            self.bad("a text in a list runs past the end of the file")

    def tensor_list(self, count: int) -> tuple[GgufTensor, ...]:
        found: dict[str, GgufTensor] = {}
        for _ in range(count):
            name = self.text(LONGEST_NAME)
            if name in found:
                self.bad(f"the tensor {name!r} is listed twice")
            dimensions = self.number("<I")
            if not 1 <= dimensions <= MOST_DIMENSIONS:
                self.bad(f"the tensor {name!r} has {dimensions} dimensions")
            shape = tuple(self.number("<Q") for _ in range(dimensions))
            kind, offset = self.number("<I"), self.number("<Q")
            found[name] = GgufTensor(name, shape, kind, offset, self.bytes_of(name, shape, kind))
        return tuple(found.values())

    def alignment(self, metadata: Mapping[str, Any]) -> int:
        alignment = metadata.get("general.alignment", 32)
        if alignment <= 0 or alignment & (alignment - 1):
            self.bad(f"general.alignment is {alignment}, not a power of two")
        return int(alignment)

    def check_data(self, tensors: tuple[GgufTensor, ...], alignment: int, start: int) -> None:
        """Tensors follow each other without gap or overlap, each at a multiple of the alignment, within the file."""
        expected = 0
        for tensor in tensors:
            size = tensor.size
            if tensor.offset != expected:
                self.bad(f"the tensor {tensor.name!r} has offset {tensor.offset}, expected {expected}")
            if start + tensor.offset + size > len(self.data):
                self.bad(f"the tensor {tensor.name!r} needs {size} bytes at {tensor.offset}, past the end of the file")
            expected += size + -size % alignment

    def bytes_of(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        from gguf.constants import GGML_QUANT_SIZES

        sizes: Mapping[int, tuple[int, int]] = GGML_QUANT_SIZES
        if kind not in sizes:
            self.bad(f"the tensor {name!r} has the unknown type {kind}")
        block, width = sizes[kind]
        elements = math.prod(shape)
        if min(shape) < 1 or elements >= 1 << 63:
            self.bad(f"the tensor {name!r} has the impossible shape {shape}")
        if shape[0] % block:
            self.bad(f"the tensor {name!r} has rows of {shape[0]}, not a multiple of its block of {block}")
        return elements // block * width
