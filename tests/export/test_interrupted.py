"""An export that cannot be written whole leaves nothing that looks finished, and says so in one sentence."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hone.cli.main import main


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file may grow past so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("form", ["safetensors", "gguf", "ollama"])
def test_a_full_disk_leaves_nothing_behind(
    form: str, tiny_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model_name_or_path", str(tiny_model("llama")), "--export_dir", str(tmp_path / "out")]
    more = ["--export_format", form, "--template", "chatml", "--export_check", "false"]
    with files_end_at(100_000):
        code = main(["export", *words, *more])
    shown = capsys.readouterr().err
    assert code == 6 and "the model cannot be written" in shown and "Traceback" not in shown, shown
    assert list(tmp_path.iterdir()) == []
    assert main(["export", *words, *more]) == 0
