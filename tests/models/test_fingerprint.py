"""The fingerprint of a base model: the same wherever and however it lies, another for any other weights."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from hone.models.fingerprint import base_fingerprint


def test_moving_and_cutting_into_shards_keep_it(folder: Path, tmp_path: Path) -> None:
    import json

    before = base_fingerprint(folder)
    assert base_fingerprint(Path(shutil.copytree(folder, tmp_path / "elsewhere"))) == before
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    listed = {}
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        shard = f"model-{number}.safetensors"
        save_file({name: tensors[name] for name in names}, folder / shard)
        listed |= dict.fromkeys(names, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    assert base_fingerprint(folder) == before


def test_other_weights_have_another(folder: Path, tiny_model: Callable[[str], Path]) -> None:
    before = base_fingerprint(folder)
    assert base_fingerprint(tiny_model("llama_tied")) != before
    assert base_fingerprint(tiny_model("mistral")) != before  # even where the numbers are the same
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor * 1.01 for name, tensor in tensors.items()}, folder / "model.safetensors")
    changed = base_fingerprint(folder)
    assert changed != before
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, folder / "model.safetensors")
    assert base_fingerprint(folder) not in (before, changed)


@pytest.mark.model
def test_it_is_cheap(small_model: Path) -> None:
    start = time.perf_counter()
    assert len(base_fingerprint(small_model)) == 32
    assert time.perf_counter() - start < 1
