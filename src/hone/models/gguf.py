"""GGUF files as base models: found, checked, and de-quantised to ordinary weights with their own tokenizer."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hone.errors import ModelError
from hone.models.gguf_header import AGAIN, MAGIC, read_header
from hone.models.silence import quiet


def find_gguf(path: Path) -> Path | None:
    """The GGUF file that a path means: the file itself, or the only one in a folder without a `config.json`."""
    if path.is_file():
        with path.open("rb") as file:
            return path if path.suffix == ".gguf" or file.read(4) == MAGIC else None
    if not path.is_dir() or (path / "config.json").exists():
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ModelError.one("GGUF-WHICH", f"the folder holds several GGUF files ({names})", str(path), "name one file")
    return found[0] if found else None


def load_gguf_model(path: Path, dtype: Any, **options: Any) -> Any:
    """The de-quantised model, as `AutoModelForCausalLM` gives it. Raises ModelError."""
    from transformers import AutoModelForCausalLM

    _check(path)
    model = _asked(path, lambda: AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=dtype, local_files_only=True, **options
    ))  # fmt: skip
    # The weights are ordinary floats from here on; without this, saving is refused.
    model.hf_quantizer, model.is_quantized = None, False
    for name in ("quantization_config", "_model_name_or_path"):
        if name in vars(model.config):
            delattr(model.config, name)
    model.config.name_or_path = str(path)
    return model


def load_gguf_tokenizer(path: Path, **options: Any) -> Any:
    """The tokenizer that the file carries, with its chat template. Raises ModelError."""
    from transformers import AutoTokenizer

    _check(path)
    return _asked(
        path,
        lambda: AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name, local_files_only=True, **options),
    )


def as_folder(path: Path, folder: Path) -> None:
    """Write the file as a Hugging Face folder: float32 safetensors, tokenizer, chat template. Raises ModelError."""
    import torch

    with _read_once(), quiet():
        load_gguf_model(path, torch.float32).save_pretrained(folder)
        load_gguf_tokenizer(path).save_pretrained(folder)


@contextmanager
def folder_for_a_while(path: Path) -> Iterator[Path]:
    """The model as a Hugging Face folder: where it lies, or a GGUF file written out for as long as this lasts."""
    gguf = find_gguf(path)
    if gguf is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hone-gguf-") as place:
        as_folder(gguf, Path(place))
        yield Path(place)


def _check(path: Path) -> None:
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    architecture = read_header(path).architecture
    if architecture.replace("-", "_") not in {name.replace("-", "_") for name in GGUF_SUPPORTED_ARCHITECTURES}:
        known = ", ".join(sorted(set(GGUF_SUPPORTED_ARCHITECTURES)))
        raise ModelError.one(
            "GGUF-ARCHITECTURE", f"GGUF files of the architecture {architecture!r} cannot be de-quantised", str(path),
            f"use the model's Hugging Face folder; known are {known}",
        )  # fmt: skip


def _asked(path: Path, act: Callable[[], Any]) -> Any:
    """Do what the library does; its many kinds of complaint about a file's content become one kind of ours."""
    try:
        with _read_once():
            return act()
    except (ModelError, MemoryError):
        raise
    except Exception as reason:
        raise ModelError.one("GGUF-LOAD", f"the GGUF file cannot be loaded ({reason})", str(path), AGAIN) from reason


@contextmanager
def _read_once() -> Iterator[None]:
    """The library reads the file's header and builds its table of names anew at every step, seconds each; here once."""
    import gguf

    plain = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(_quick(gguf.GGUFReader)), cache(gguf.get_tensor_name_map)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = plain


def _quick(reader: Any) -> Any:
    """The library's reader over a plain array: slicing a memory map a million times, once a token, takes long."""
    import numpy as np

    if sys.byteorder != "little" or not isinstance(reader, type) or getattr(reader, "_quick", False):
        return reader

    class Quick(reader):
        _quick = True

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            return np.frombuffer(self.data, dtype=dtype, count=int(count), offset=int(offset))

    return Quick
