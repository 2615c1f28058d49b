"""Without llama.cpp, or without a GGUF file, `infer_backend: llamacpp` is one sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hone.cli.main import main
from hone.engines.llamacpp.library import library


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where llama-cpp-python is not installed."""
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    library.cache_clear()
    yield
    library.cache_clear()


def test_a_missing_library_is_named_with_the_line_that_installs_it(
    without_library: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    assert main(["chat", "--model_name_or_path", str(file), "--infer_backend", "llamacpp"]) == 6
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error[")]
    assert len(said) == 1
    assert "error[EXTRA-LLAMACPP]" in said[0] and "pip install 'hone-llm[llamacpp]'" in said[0]


def test_a_folder_without_a_gguf_file_is_told_how_to_get_one(
    tiny_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "--model_name_or_path", str(tiny_model("llama")), "--infer_backend", "llamacpp"]) == 4
    assert "hone export --export_format gguf" in capsys.readouterr().err
