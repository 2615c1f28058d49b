"""`export_device` and `export_legacy_format`: what they may say, and what is refused before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hone.cli.main import main


def export(model: Path, target: Path, *more: str) -> int:
    return main(["export", "--model_name_or_path", str(model), "--export_dir", str(target), *more])


def test_auto_writes_the_bytes_that_cpu_writes_where_there_is_no_card(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend in (torch.cuda, torch.xpu, torch.backends.mps):
        monkeypatch.setattr(backend, "is_available", lambda: False)
    for name in ("cpu", "auto"):
        assert export(tiny_model("llama"), tmp_path / name, "--template", "chatml", "--export_device", name) == 0
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("cpu", "auto"))
    assert one == other and "model.safetensors" in one


def test_auto_asks_for_the_best_device_and_cpu_for_none(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hone.models import device

    asked: list[bool] = []

    def choose(*, use_cpu: bool = False) -> torch.device:
        asked.append(use_cpu)
        return torch.device("cpu")

    monkeypatch.setattr(device, "choose_device", choose)
    for name in ("cpu", "auto"):
        words = ("--template", "chatml", "--export_check", "false", "--export_device", name)
        assert export(tiny_model("llama"), tmp_path / name, *words) == 0
    assert asked == [True, False]


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_by_name_is_refused_with_those_there_are(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path / "nowhere", tmp_path / "out", "--export_device", name) == 2
    said = capsys.readouterr().err
    assert "export_device" in said and name in said and "cpu" in said and "auto" in said
    assert not (tmp_path / "out").exists()


def test_pickled_weights_are_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path / "nowhere", tmp_path / "out", "--export_legacy_format", "true") == 2
    said = capsys.readouterr().err
    assert "export_legacy_format" in said and "pickled weights are unsafe to load" in said
    assert not (tmp_path / "out").exists()
