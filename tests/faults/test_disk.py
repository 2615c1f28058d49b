"""A disk that is full, broken or not ours: older checkpoints stay, the run goes on where it can, the code says it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.training.checkpoints.keeper import numbered
from hone.training.checkpoints.manifest import fault_of

WRITES = int(os.environ.get("HONE_WRITES", "4"))
Marks = Callable[[Path], dict[str, str]]


def fails(number: int) -> Callable[[str], None]:
    def act(_: str) -> None:
        raise OSError(number, os.strerror(number))

    return act


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_disk_that_fails_once_costs_no_older_checkpoint_and_no_traceback(
    runs: Any, whole: tuple[dict[str, str], int], marks: Marks, tmp_path: Path, number: int
) -> None:
    wanted, count = whole
    for turn in range(WRITES):
        folder = tmp_path / f"{turn}"
        point = 2 + turn * (count - 2) // WRITES
        code, _ = runs.train(folder, at=point, act=fails(number))
        assert code in (0, 2, 6), (point, runs.said[-3000:])
        assert not any(fault_of(path) for path in numbered(folder))
        if code == 0:
            assert marks(folder) == wanted
        else:
            assert runs.train(folder)[0] == 0
            assert marks(folder) == wanted
    assert "Traceback" not in runs.said
    assert "error[BUG]" not in runs.said


def test_a_full_disk_is_said_with_numbers_and_the_last_save_decides_the_exit_code(
    runs: Any, whole: tuple[dict[str, str], int], marks: Marks, tmp_path: Path
) -> None:
    code, _ = runs.train(tmp_path / "early", at=70, act=fails(errno.ENOSPC))
    assert code == 0
    assert marks(tmp_path / "early") == whole[0]
    assert "error[CKPT-ENOSPC] checkpoint-" in runs.said
    assert "MB are free" in runs.said


def test_a_checkpoint_that_cannot_be_written_at_the_end_ends_the_run_with_6(runs: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert runs.train(folder, max_steps=2)[0] == 0
    code, _ = runs.train(folder, max_steps=4, at="/.saving-", act=fails(errno.ENOSPC))
    assert code == 6
    assert [path.name for path in numbered(folder)] == ["checkpoint-1", "checkpoint-2"]
    assert not any(fault_of(path) for path in numbered(folder))
    assert (folder / "adapter_model.safetensors").exists()
