"""The run directory: whole files, the card that remembers, and one run at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hone.errors import MachineError, ModelError, RecipeError
from hone.rundir import CARD, RunCard, cache_root, held, read_card, write_card, write_json, write_text

HOLD = """
import sys, time, pathlib
from hone.rundir import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_in_one_folder_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    process = holder(tmp_path / "out")
    try:
        with pytest.raises(RecipeError, match=f"in use by pid {process.pid}") as caught, held(tmp_path / "out"):
            pass
        assert caught.value.exit_code == 2
    finally:
        process.kill()
        process.wait()


def test_a_killed_run_does_not_block_the_next(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with held(tmp_path):
        assert (tmp_path / ".hone.lock").read_text().startswith(str(os.getpid()))
    with held(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=str(tmp_path / "file")) as caught, held(tmp_path / "file" / "out"):
        pass
    assert caught.value.exit_code == 6


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path, seen, stop = tmp_path / "state.json", set(), threading.Event()
    write_json(path, ["a"] * 5000)

    def read() -> None:
        while not stop.is_set():
            seen.add(len(json.loads(path.read_text("utf-8"))))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        write_json(path, ["b"] * 20000)
        write_json(path, ["a"] * 5000)
    stop.set()
    reader.join()
    assert seen <= {5000, 20000}
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]


def test_the_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    card = RunCard(
        template="qwen3",
        template_options={"enable_thinking": False, "default_system": "Grüße"},
        template_fingerprint="t",
        base_model="Qwen/Qwen3-0.6B",
        base_fingerprint="b",
        stage="sft",
        finetuning_type="lora",
    )
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


def test_no_card_is_no_error_and_a_later_one_is_understood(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None
    assert read_card(tmp_path / "nowhere") is None
    (tmp_path / CARD).write_text(json.dumps({"template": "qwen", "from_the_future": [1]}))
    card = read_card(tmp_path)
    assert card is not None
    assert card.template == "qwen"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"template_options": 3}', '{"template": 7}', '{"base_model": []}'])
def test_a_damaged_card_is_refused_with_exit_code_4(tmp_path: Path, content: str) -> None:
    (tmp_path / CARD).write_text(content)
    with pytest.raises(ModelError, match="RUN-CARD"):
        read_card(tmp_path)


def test_the_cache_is_where_hone_cache_says_and_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "deep" / "cache"))
    assert cache_root() == tmp_path / "deep" / "cache"
    assert cache_root().stat().st_mode & 0o077 == 0


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("HONE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(MachineError, match=r"cache folder cannot be used.*HONE_CACHE") as caught:
        cache_root()
    assert caught.value.exit_code == 6
