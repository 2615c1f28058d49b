"""Without vLLM, or without a folder that it could read, `infer_backend: vllm` is one sentence and an exit code."""

from __future__ import annotations

import importlib.machinery
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hone.cli.main import main


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error[")]


@pytest.fixture
def without_vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where it is not installed."""
    from importlib import util

    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "vllm" else found(name, *more))
    yield


@pytest.fixture
def with_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where it is installed; it is not imported before everything cheap was looked at."""
    from importlib import util

    found = util.find_spec
    here = importlib.machinery.ModuleSpec("vllm", None)
    monkeypatch.setattr(util, "find_spec", lambda name, *more: here if name == "vllm" else found(name, *more))


def test_a_missing_package_is_named_with_the_line_that_installs_it(
    without_vllm: None, tiny_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "--model_name_or_path", str(tiny_model("llama")), "--infer_backend", "vllm"]) == 6
    (line,) = said(capsys)
    assert "error[EXTRA-VLLM] vllm is not installed" in line and "pip install 'hone-llm[web,vllm]'" in line


def test_a_gguf_file_is_sent_to_llama_cpp(with_vllm: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    assert main(["chat", "--model_name_or_path", str(file), "--infer_backend", "vllm"]) == 4
    (line,) = said(capsys)
    assert "error[VLLM-FILE]" in line and "use infer_backend: llamacpp" in line


def test_several_adapters_in_one_are_told_to_be_named_or_merged(
    with_vllm: None, tiny_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["chat", "--model_name_or_path", str(tiny_model("llama")), "--infer_backend", "vllm"]
    assert main([*words, "--adapter_name_or_path", "one,two"]) == 2
    (line,) = said(capsys)
    assert "error[VLLM-ADAPTERS]" in line and "name=folder" in line
