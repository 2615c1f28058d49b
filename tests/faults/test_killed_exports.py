"""An export that is killed leaves the old state or the whole new model under its name; the next one cleans up."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.export.place import drafted
from hone.rundir import held

KILLS = int(os.environ.get("HONE_KILLS", "20"))


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def words(model: Path, target: Path, form: str) -> list[str]:
    given = {"model_name_or_path": model, "export_dir": target, "export_format": form, "template": "chatml"}
    return ["export", *(f"{key}={value}" for key, value in given.items()), "export_check=false"]


def kill_before_changes(runs: Any, model: Path, place: Path, form: str, wanted: int) -> None:
    """So many kills, each before one of the changes that a whole export makes on the disk, drawn without doubles."""
    (place / "whole").mkdir(parents=True)
    report = place / "count"
    assert runs.wait(runs.begin(words(model, place / "whole/out", form), place, report=report)) == 0, runs.said
    whole, source = hashes(place / "whole/out"), hashes(model)
    count = int(report.read_text())
    moments = random.Random(7).sample(range(1, count), min(wanted, count) - 1)
    folder = place / "killed"
    folder.mkdir()
    for at in (*moments, count):
        code = runs.wait(runs.begin(words(model, folder / "out", form), place, at=at))
        assert code == -signal.SIGKILL, runs.said[-2000:]
        if (folder / "out").exists():
            assert hashes(folder / "out") == whole
            (folder / "out").rename(place / f"kept-{at}")
        assert all(path.name.startswith(".out.exporting-") for path in folder.iterdir())
    assert runs.wait(runs.begin(words(model, folder / "out", form), place)) == 0, runs.said[-2000:]
    assert [path.name for path in folder.iterdir()] == ["out"] and hashes(folder / "out") == whole
    assert hashes(model) == source


def test_a_killed_export_leaves_nothing_that_looks_finished(
    runs: Any, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    kill_before_changes(runs, tiny_model("llama"), tmp_path, "safetensors", 2)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "gguf", "ollama"])
def test_killed_before_every_change(form: str, runs: Any, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    kill_before_changes(runs, tiny_model("llama"), tmp_path, form, KILLS)


def test_what_another_export_is_writing_is_left_alone(tmp_path: Path) -> None:
    """A child holds its draft while this process writes one of its own to the same place."""
    draft = tmp_path / ".out.exporting-theirs"
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        with held(draft):
            os.write(ready[1], b".")
            os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    with drafted(tmp_path / "out", 0) as mine:
        (mine / "file").write_text("whole")
    assert draft.is_dir() and hashes(tmp_path / "out").keys() == {"file"}
    os.write(done[1], b".")
    assert os.waitpid(child, 0)[1] == 0
    (tmp_path / "out/file").unlink()
    with drafted(tmp_path / "out", 0) as mine:
        assert not draft.exists()
