"""A training in a process of its own that can be killed: at any moment, or before any change it makes on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")
"""Audit events of Python that come before a change of the file system; `os.fsync` has none and is wrapped."""


class Boundaries:
    """Counts the changes that a process is about to make below `folder`, and does something before one of them: that
    of a number, or (a text) each whose path holds the text."""

    def __init__(self, folder: Path, at: int | str, act: Callable[[str], None]) -> None:
        self.folder, self.at, self.act = str(folder), at, act
        self.count = 0

    def watch(self) -> None:
        """For the rest of this process's life."""
        sys.addaudithook(self._hear)
        really = os.fsync

        def fsync(handle: Any) -> None:
            self._meet("os.fsync", "")
            really(handle)

        os.fsync = fsync

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or not isinstance(arguments[0], str | os.PathLike):
            return
        if event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")):
            return
        if str(arguments[0]).startswith(self.folder):
            self._meet(event, str(arguments[0]))

    def _meet(self, event: str, path: str) -> None:
        self.count += 1
        if self.count == self.at or (isinstance(self.at, str) and self.at in path):
            self.act(event)


def die(_: str) -> None:
    """As if the power went."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Runs:
    """Trains the same tiny recipe into any folder, each time in a child of this process."""

    values: dict[str, Any]
    root: Path
    more: dict[str, Any] = field(default_factory=dict)

    def train(
        self, folder: Path, *, at: int | str = 0, act: Callable[[str], None] = die, **changes: Any
    ) -> tuple[int, int]:
        """Exit status of a whole run (minus the signal's number) and how many changes it made; `act` before one."""
        report = self.root / f"count-{os.getpid()}"
        child = self.start(folder, at=at, act=act, report=report, **changes)
        code = self.wait(child)
        return code, int(report.read_text()) if report.exists() else 0

    def start(
        self,
        folder: Path,
        *,
        at: int | str = 0,
        act: Callable[[str], None] = die,
        report: Path | None = None,
        **changes: Any,
    ) -> int:
        """Begin one and return its process number."""
        values = {**self.values, **self.more, **changes, "output_dir": str(folder)}
        words = ["train", *(f"{name}={value}" for name, value in values.items())]
        return self.begin(words, folder, at=at, act=act, report=report)

    def begin(
        self,
        words: list[str],
        folder: Path,
        *,
        at: int | str = 0,
        act: Callable[[str], None] = die,
        report: Path | None = None,
    ) -> int:
        """Begin any command, `act` before a change that it makes below `folder`, and return its process number."""
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            code = self._in_child(words, folder, at, act, report)
        finally:
            os._exit(code)

    def _in_child(
        self, words: list[str], folder: Path, at: int | str, act: Callable[[str], None], report: Path | None
    ) -> int:
        quiet = os.open(self.root / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ["HONE_CACHE"] = str(self.root / "cache")
        from hone.cli.main import main

        boundaries = Boundaries(folder, at, act)
        boundaries.watch()
        code = main(words)
        if report:
            report.write_text(str(boundaries.count))
        return code

    def wait(self, child: int) -> int:
        """The exit code, or minus the signal."""
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @property
    def said(self) -> str:
        """What all runs have printed."""
        return (self.root / "output.txt").read_text("utf-8")


def marks_of(folder: Path) -> dict[str, str]:
    """The hash of what was learned, and the losses of each step."""
    weights = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    history = json.loads((folder / "trainer_state.json").read_text("utf-8"))["log_history"]
    course = [(event["step"], event["loss"], event["grad_norm"]) for event in history if "loss" in event]
    return {"weights": weights, "course": json.dumps(course)}


def until(condition: Callable[[], bool], *, seconds: float = 60, pause: float = 0.002) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(pause)


@pytest.fixture(scope="module")
def runs(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs of five steps, each saved, with two checkpoints kept; all that a run imports is here before the children."""
    if not hasattr(os, "fork"):
        pytest.skip("children are made by fork")
    import torch

    from hone.recipe import settle
    from hone.runs.train import train

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("faults")
    rows = [{"instruction": f"Count to {n}.", "output": " ".join(map(str, range(n)))} for n in range(1, 13)]
    (root / "rows.json").write_text(json.dumps(rows))
    (root / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    values = {
        "stage": "sft", "do_train": True, "model_name_or_path": str(tiny_model("llama")), "template": "chatml",
        "dataset": "rows", "dataset_dir": str(root), "cutoff_len": 64, "max_steps": 5, "logging_steps": 1,
        "learning_rate": 0.01, "lora_rank": 2, "lora_dropout": 0.1, "save_steps": 1, "save_total_limit": 2,
        "per_device_train_batch_size": 2, "use_cpu": True, "report_to": "none",
    }  # fmt: skip
    train(settle({**values, "output_dir": str(root / "here")}, verb="train"))
    yield Runs(values, root)


@pytest.fixture(scope="module")
def whole(runs: Runs) -> tuple[dict[str, str], int]:
    """A run that nobody disturbed: its marks, and how many changes of the disk it made."""
    runs.train(runs.root / "first")  # which also fills the cache of prepared data
    code, count = runs.train(runs.root / "whole")
    assert code == 0, runs.said
    assert marks_of(runs.root / "first") == marks_of(runs.root / "whole")
    return marks_of(runs.root / "whole"), count


@pytest.fixture(scope="session")
def marks() -> Callable[[Path], dict[str, str]]:
    """`marks(folder)`: what must be equal when two runs learned the same."""
    return marks_of


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """`wait_until(condition)`: for something that another process does."""
    return until
