"""A run that the disk cannot hold ends before its first step; one whose checkpoints will not all fit is warned."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from torch import nn

from hone.errors import MachineError
from hone.training.checkpoints import room
from hone.training.checkpoints.room import Room, in_units, kept_at_once, refuse_a_full_disk, room_of


class Usage(NamedTuple):
    free: int


def arguments(**more: Any) -> Any:
    given = {"save_strategy": "steps", "save_steps": 10, "num_train_epochs": 2.0, "save_only_model": False}
    return SimpleNamespace(**{**given, **more})


@pytest.mark.parametrize(
    ("more", "limit", "kept"),
    [
        ({}, None, 10), ({}, 3, 4), ({"save_steps": 60}, 3, 2), ({"save_steps": 0.25}, None, 4),
        ({"save_strategy": "epoch"}, None, 2), ({"save_strategy": "no"}, None, 0),
    ],
)  # fmt: skip
def test_the_checkpoints_that_lie_there_at_once_are_counted(more: dict[str, Any], limit: int | None, kept: int) -> None:
    assert kept_at_once(arguments(**more), 100, limit) == kept


def test_weights_and_optimizer_state_are_counted() -> None:
    model = nn.Linear(10, 10, bias=False)
    found = room_of(model, arguments(), steps=100, limit=1, optimizer_bytes=8)
    assert (found.weights, found.optimizer, found.checkpoints) == (400, 800, 2)
    assert found.total == 2 * 1200 + 400 + room.BESIDE


def test_a_disk_without_room_for_one_save_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(1000))
    with pytest.raises(MachineError, match=r"one save needs 1\.2 KiB, 1000 bytes are free"):
        refuse_a_full_disk(tmp_path, Room(400, 800, 2))
    refuse_a_full_disk(tmp_path, Room(400, 800, 0))


def test_a_disk_too_small_for_all_of_them_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(2000))
    refuse_a_full_disk(tmp_path, Room(400, 800, 2))
    assert "set save_total_limit" in capsys.readouterr().err


def test_sizes_are_readable() -> None:
    assert [in_units(size) for size in (12, 2048, 3 << 20, 5 << 30)] == ["12 bytes", "2.0 KiB", "3.0 MiB", "5.0 GiB"]
