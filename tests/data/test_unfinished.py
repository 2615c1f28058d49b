"""A preparation that was ended goes on where it stopped, and gives what an undisturbed one gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from letters import LetterEncoder, MakeSets, alpaca
from test_prepare import ready, texts

from hone.errors import MachineError

ROWS = [*(alpaca(f"question {number}", f"answer {number}") for number in range(60)), alpaca("none", ""), 5]
ROWS += [alpaca(f"question {number}", f"answer {number}") for number in range(60, 100)]


@dataclass
class Stopping(LetterEncoder):
    """Ends the run with `fault` at the conversation that says `at`."""

    at: str = ""
    fault: type[BaseException] = KeyboardInterrupt
    encoded: int = 0

    def turns_batch(self, conversations: Any, **options: Any) -> Any:
        if self.at and any(one.messages[0].text == self.at for one in conversations):
            raise self.fault
        self.encoded += len(conversations)
        return super().turns_batch(conversations, **options)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hone.data.load.BATCH", 5)
    monkeypatch.setattr("hone.data.unfinished.EVERY", 20)


def test_an_interrupted_preparation_goes_on_where_it_stopped(make_sets: MakeSets, capsys: Any) -> None:
    folder = make_sets(a=ROWS)
    whole = ready(folder, "a", on_bad_row="skip", overwrite_cache=True, encoder=LetterEncoder("whole"))
    with pytest.raises(KeyboardInterrupt):
        ready(folder, "a", on_bad_row="skip", encoder=Stopping(at="question 90"))
    capsys.readouterr()
    again = Stopping()
    resumed = ready(folder, "a", on_bad_row="skip", encoder=again)
    assert "going on with a: 80 rows were finished before" in capsys.readouterr().err
    assert again.encoded == 22
    assert texts(resumed) == texts(whole)
    assert resumed.report == whole.report
    assert not list((folder.parent / "cache").glob("*.part"))


@pytest.mark.parametrize("harm", ["truncated", "flipped", "no commit"])
def test_a_damaged_half_is_begun_anew(make_sets: MakeSets, harm: str, capsys: Any) -> None:
    folder = make_sets(a=ROWS)
    with pytest.raises(KeyboardInterrupt):
        ready(folder, "a", on_bad_row="skip", encoder=Stopping(at="question 90"))
    (half,) = (folder.parent / "cache").glob("*.part")
    content = bytearray((half / "labels.bin").read_bytes())
    if harm == "truncated":
        (half / "labels.bin").write_bytes(content[:40])
    elif harm == "flipped":
        content[9] ^= 1
        (half / "labels.bin").write_bytes(content)
    else:
        (half / "commit.json").write_text("{", "utf-8")
    again = Stopping()
    resumed = ready(folder, "a", on_bad_row="skip", encoder=again)
    assert again.encoded == 100
    assert len(texts(resumed)) == 100
    assert "going on" not in capsys.readouterr().err


def test_a_changed_file_is_not_gone_on_with(make_sets: MakeSets) -> None:
    folder = make_sets(a=ROWS)
    with pytest.raises(KeyboardInterrupt):
        ready(folder, "a", on_bad_row="skip", encoder=Stopping(at="question 90"))
    make_sets(a=ROWS[1:])
    again = Stopping()
    ready(folder, "a", on_bad_row="skip", encoder=again)
    assert again.encoded == 99


def test_a_worker_killed_leaves_what_was_finished(make_sets: MakeSets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hone.data.load.WORTH_A_FORK", 20)
    monkeypatch.setattr("hone.data.load.starts_quickly", lambda: True)
    monkeypatch.setattr("hone.data.workers.starts_quickly", lambda: True)
    folder = make_sets(a=[alpaca(f"question {number}") for number in range(400)])
    began = time.monotonic()
    with pytest.raises(MachineError, match=r"worker \d killed \(signal 9\), likely out of memory") as error:
        ready(folder, "a", encoder=Killing(at="question 390"), preprocessing_num_workers=2)
    assert time.monotonic() - began < 30
    assert error.value.exit_code == 6
    again = Stopping()
    assert len(texts(ready(folder, "a", encoder=again, preprocessing_num_workers=1))) == 400
    assert 0 < again.encoded < 400


@dataclass
class Killing(Stopping):
    """Kills its own process instead."""

    def turns_batch(self, conversations: Any, **options: Any) -> Any:
        try:
            return super().turns_batch(conversations, **options)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGKILL)


PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from letters import LetterEncoder
from test_prepare import ready
import hone.data.load, hone.data.unfinished
hone.data.load.BATCH, hone.data.unfinished.EVERY = 5, 20
class Slow(LetterEncoder):
    def turns_batch(self, *given, **options):
        time.sleep(0.05)
        return super().turns_batch(*given, **options)
ready(Path(sys.argv[2]), "a", encoder=Slow(), on_bad_row="skip")
"""


def test_a_killed_process_leaves_what_was_finished(make_sets: MakeSets) -> None:
    folder = make_sets(a=ROWS)
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(folder)])
    deadline = time.monotonic() + 60
    while not list((folder.parent / "cache").glob("*.part/commit.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    child.wait()
    again = Stopping()
    assert len(texts(ready(folder, "a", on_bad_row="skip", encoder=again))) == 100
    assert 0 < again.encoded < 100
