"""GGUF as the base: hostile headers are refused in well under a second, good files become the same model."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.errors import ModelError
from hone.models.embedded import embedded_gguf
from hone.models.gguf import find_gguf
from hone.models.gguf_header import read_header
from hone.models.load import load_model
from hone.models.tokenizer import load_tokenizer
from hone.recipe import ModelSection

CPU = torch.device("cpu")
HUGE = (1 << 64) - 1
U32, STRING, ARRAY = 4, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, shape: Sequence[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ARCHITECTURE = pair("general.architecture", STRING, text("llama"))


def gguf(
    pairs: Sequence[bytes] = (ARCHITECTURE,),
    tensors: Sequence[bytes] = (),
    *,
    data: int = 0,
    magic: bytes = b"GGUF",
    version: int = 3,
    keys: int | None = None,
    count: int | None = None,
) -> bytes:
    sizes = struct.pack("<IQQ", version, len(tensors) if count is None else count, len(pairs) if keys is None else keys)
    head = magic + sizes + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def alignment(kind: int, form: str, value: int) -> bytes:
    return pair("general.alignment", kind, struct.pack(form, value))


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "cut within the first numbers": b"GGUF\x03\0\0\0",
    "bad magic": gguf(magic=b"FUGG"),
    "a pickle": b"\x80\x04" + bytes(64),
    "a zip": b"PK\x03\x04" + bytes(64),
    "version 1": gguf(version=1),
    "version 4": gguf(version=4),
    "version 0": gguf(version=0),
    "big-endian": gguf(version=3 << 24),
    "all keys": gguf(keys=HUGE),
    "more keys than there are": gguf(keys=2),
    "all tensors": gguf(count=HUGE),
    "more tensors than there are": gguf(count=1),
    "no architecture": gguf(pairs=()),
    "architecture is a number": gguf([pair("general.architecture", U32, struct.pack("<I", 7))]),
    "text length 2^63": gguf([pair("general.architecture", STRING, struct.pack("<Q", 1 << 63))]),
    "key length 2^64-1": gguf([struct.pack("<Q", HUGE) + bytes(64)]),
    "empty key": gguf([ARCHITECTURE, pair("", U32, bytes(4))]),
    "value type 255": gguf([ARCHITECTURE, pair("x", 255, bytes(8))]),
    "nested array": gguf([ARCHITECTURE, pair("x", ARRAY, struct.pack("<IQ", ARRAY, 1) + bytes(64))]),
    "array of type 255": gguf([ARCHITECTURE, pair("x", ARRAY, struct.pack("<IQ", 255, 1) + bytes(64))]),
    "array of 2^64-1 numbers": gguf([ARCHITECTURE, pair("x", ARRAY, struct.pack("<IQ", U32, HUGE))]),
    "array of 2^61 numbers": gguf([ARCHITECTURE, pair("x", ARRAY, struct.pack("<IQ", U32, 1 << 61))]),
    "array of 2^64-1 texts": gguf([ARCHITECTURE, pair("x", ARRAY, struct.pack("<IQ", STRING, HUGE))]),
    "a text in an array past the end": gguf(
        [ARCHITECTURE, pair("x", ARRAY, struct.pack("<IQQ", STRING, 1, HUGE >> 1))]
    ),
    "texts in an array past the end": gguf(
        [ARCHITECTURE, pair("x", ARRAY, struct.pack("<IQQ", STRING, 3, 40) + bytes(24))]
    ),
    "key twice": gguf([ARCHITECTURE, ARCHITECTURE]),
    "alignment 0": gguf([ARCHITECTURE, alignment(U32, "<I", 0)]),
    "alignment 3": gguf([ARCHITECTURE, alignment(U32, "<I", 3)]),
    "alignment as INT32": gguf([ARCHITECTURE, alignment(5, "<i", 32)]),
    "alignment as text": gguf([ARCHITECTURE, pair("general.alignment", STRING, text("32"))]),
    "no dimensions": gguf(tensors=[tensor("t", [])], data=64),
    "five dimensions": gguf(tensors=[tensor("t", [1] * 5)], data=64),
    "2^32-1 dimensions": gguf(tensors=[text("t") + struct.pack("<I", (1 << 32) - 1) + bytes(64)], data=64),
    "dimension 0": gguf(tensors=[tensor("t", [0, 4])], data=64),
    "dimensions overflow": gguf(tensors=[tensor("t", [1 << 32, 1 << 32])], data=64),
    "dimension 2^64-1": gguf(tensors=[tensor("t", [HUGE])], data=64),
    "unknown tensor type": gguf(tensors=[tensor("t", [4], kind=250)], data=64),
    "rows no multiple of the block": gguf(tensors=[tensor("t", [33], kind=2)], data=64),
    "offset past the end": gguf(tensors=[tensor("t", [4], offset=1 << 40)], data=64),
    "offset 2^64-1": gguf(tensors=[tensor("t", [4], offset=HUGE)], data=64),
    "offset unaligned": gguf(tensors=[tensor("t", [4], offset=1)], data=64),
    "overlap": gguf(tensors=[tensor("a", [16]), tensor("b", [16])], data=128),
    "gap": gguf(tensors=[tensor("a", [8]), tensor("b", [8], offset=96)], data=256),
    "tensor twice": gguf(tensors=[tensor("a", [8]), tensor("a", [8], offset=32)], data=64),
    "short data": gguf(tensors=[tensor("t", [1000])], data=64),
    "data one byte short": gguf(tensors=[tensor("t", [16])], data=64)[:-1],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused_fast_with_exit_code_4(case: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(HOSTILE[case])
    start = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert time.perf_counter() - start < 1
    assert caught.value.exit_code == 4
    assert str(path) in str(caught.value)


def test_a_hostile_base_never_reaches_the_library(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(HOSTILE["offset past the end"])
    section = ModelSection(model_name_or_path=str(path))
    for act in (lambda: load_model(section, dtype=torch.float32, device=CPU), lambda: load_tokenizer(section)):
        with pytest.raises(ModelError, match="GGUF-BAD"):
            act()


def test_a_clean_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    words = pair("words", ARRAY, struct.pack("<IQ", STRING, 2) + text("a") + text("bc"))
    path.write_bytes(gguf([ARCHITECTURE, words], [tensor("a", [8]), tensor("b", [32, 2], 2, 32)], data=32 + 36))
    header = read_header(path)
    assert header.architecture == "llama"
    assert header.metadata["words"] == 2
    assert [(t.name, t.shape, t.size) for t in header.tensors] == [("a", (8,), 32), ("b", (32, 2), 36)]


def test_an_architecture_that_cannot_be_dequantised_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf([pair("general.architecture", STRING, text("whisperer"))]))
    with pytest.raises(ModelError, match=r"whisperer.*known are"):
        load_model(ModelSection(model_name_or_path=str(path)), dtype=torch.float32, device=CPU)


def test_a_folder_may_hold_the_file_but_not_two(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(gguf())
    assert find_gguf(tmp_path) == tmp_path / "a.gguf"
    (tmp_path / "b.gguf").write_bytes(gguf())
    with pytest.raises(ModelError, match=r"a\.gguf, b\.gguf"):
        find_gguf(tmp_path)


@pytest.mark.model
def test_the_file_gives_the_same_model_and_tokenizer_as_the_folder_made_of_it(
    small_model: Path, same_weights: Callable[[Any, Any], None]
) -> None:
    file = ModelSection(model_name_or_path=str(embedded_gguf()))
    folder = ModelSection(model_name_or_path=str(small_model))
    from_file = load_model(file, dtype=torch.float32, device=CPU)
    same_weights(from_file, load_model(folder, dtype=torch.float32, device=CPU))
    assert not getattr(from_file, "is_quantized", False)
    one, other = load_tokenizer(file), load_tokenizer(folder)
    chat = [{"role": "user", "content": "How are you, 世界?"}]
    assert one.chat_template == other.chat_template
    assert one.apply_chat_template(chat) == other.apply_chat_template(chat)


@pytest.mark.model
def test_the_real_header_is_read_within_a_second(small_model: Path) -> None:
    start = time.perf_counter()
    header = read_header(embedded_gguf())
    assert time.perf_counter() - start < 1
    assert (len(header.tensors), header.metadata["tokenizer.ggml.tokens"]) == (272, 49152)
