"""GGUF files for the engine that answers with them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def as_gguf(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """`as_gguf(folder)`: the model exported as a GGUF file in float32."""

    @functools.cache
    def export(model: Path) -> Path:
        from hone.cli.main import main

        target = tmp_path_factory.mktemp("gguf") / "out"
        words = ["--model_name_or_path", str(model), "--export_dir", str(target), "--export_format", "gguf"]
        assert main(["export", *words, "--export_gguf_type", "f32", "--export_check", "false"]) == 0
        return target / "model.gguf"

    return export
