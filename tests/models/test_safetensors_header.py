"""Safetensors headers: every lie is refused fast, whatever the file claims to be."""

from __future__ import annotations

import json
import pickle
import resource
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hone.errors import ModelError
from hone.models.safetensors_header import read_header


def file(header: Any, data: int = 0, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(data)


def entry(start: int, stop: int, shape: tuple[int, ...] = (4,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


TWICE = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "seven bytes": bytes(7),
    "header of 2^63 bytes": file(b"{}", length=1 << 63),
    "header longer than the file": file(b"{}", length=100),
    "not JSON": file(b"{nonsense}"),
    "not UTF-8": file(b'{"\xff\xfe": 1}'),
    "a list": file([]),
    "nested a million deep": file(b"[" * 1_000_000),
    "overlap": file({"a": entry(0, 16), "b": entry(8, 24)}, 24),
    "gap": file({"a": entry(0, 16), "b": entry(32, 48)}, 48),
    "past the end": file({"a": entry(0, 16)}, 8),
    "bytes left over": file({"a": entry(0, 16)}, 32),
    "shape and bytes differ": file({"a": entry(0, 16, (5,))}, 16),
    "shape overflows": file({"a": entry(0, 16, (1 << 62, 1 << 62))}, 16),
    "negative shape": file({"a": entry(0, 16, (-4,))}, 16),
    "shape of truths": file(b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', 4),
    "backward offsets": file({"a": entry(16, 0)}, 16),
    "unknown dtype": file({"a": entry(0, 16, dtype="F31")}, 16),
    "no offsets": file({"a": {"dtype": "F32", "shape": [4]}}, 16),
    "a name listed twice": file(TWICE, 16),
    "NaN in the metadata": file(b'{"__metadata__":{"a":NaN}}'),
    "a pickle": pickle.dumps({"weight": list(range(100))}),
    "a zip": b"PK\x03\x04" + bytes(100),
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_with_exit_code_4(case: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(ModelError, match="SAFETENSORS-BAD") as caught:
        read_header(path)
    assert caught.value.exit_code == 4
    assert str(path) in str(caught.value)


def test_what_the_file_really_is_gets_said(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE["a pickle"])
    with pytest.raises(ModelError, match="looks like a pickle"):
        read_header(path)


def test_a_million_tensors_and_a_huge_header_cost_little(tmp_path: Path) -> None:
    names = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(1_000_000))
    million, sparse = tmp_path / "million.safetensors", tmp_path / "sparse.safetensors"
    million.write_bytes(file(b"{" + names + b"}"))
    del names
    with sparse.open("wb") as out:
        out.write(struct.pack("<Q", 200 << 20))
        out.truncate((200 << 20) + 8)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    for path in (million, sparse):
        with pytest.raises(ModelError, match="too long"):
            read_header(path)
    assert time.perf_counter() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


def test_a_real_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0), "c": torch.ones(3, dtype=torch.bfloat16)}
    save_file(tensors, path, metadata={"format": "pt"})
    header = read_header(path)
    assert {name: (stored.dtype, stored.shape) for name, stored in header.items()} == {
        "a": ("F32", (2, 3)), "b": ("F32", (0,)), "c": ("BF16", (3,)),
    }  # fmt: skip
    stored, raw = header["a"], path.read_bytes()
    assert torch.frombuffer(bytearray(raw[stored.start : stored.stop]), dtype=torch.float32).tolist() == list(range(6))
