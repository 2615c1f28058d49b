"""A checkpoint made to do harm: side files that are pickles with a payload are refused and do not run."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from hone.training.checkpoints.keeper import numbered
from hone.training.checkpoints.manifest import fault_of, read, seal


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


@pytest.fixture(scope="module")
def cut(runs: Any) -> Path:
    """A run killed when it began to save its fifth step."""
    folder = runs.root / "cut"
    runs.train(folder, at="checkpoint-5")
    assert [path.name for path in numbered(folder)][-1] == "checkpoint-4"
    return Path(folder)


@pytest.mark.parametrize(
    "name",
    ["optimizer.pt", *(pytest.param(name, marks=pytest.mark.slow) for name in ("scheduler.pt", "rng_state.pth"))],
)
def test_a_side_file_with_a_payload_is_refused_and_not_run(name: str, runs: Any, cut: Path, tmp_path: Path) -> None:
    """The manifest is made to fit, as whoever plants a checkpoint would."""
    folder = Path(shutil.copytree(cut, tmp_path / "run"))
    for checkpoint in numbered(folder):
        assert (checkpoint / name).is_file()
        (checkpoint / name).write_bytes(pickle.dumps(Payload(tmp_path / "canary")))
        facts = read(checkpoint)
        (checkpoint / "manifest.json").unlink()
        seal(checkpoint, {key: value for key, value in facts.items() if key != "files"})
        assert fault_of(checkpoint) is None
    before = len(runs.said)
    code, _ = runs.train(folder)
    said = runs.said[before:]
    assert code == 5 and "PICKLE-REFUSED" in said and "Traceback" not in said, said[-1500:]
    assert not (tmp_path / "canary").exists()
