"""Several processes give the same results in the same order, and the death of one ends the work with its reason."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from hone.data import workers
from hone.data.workers import in_order
from hone.errors import DataError, MachineError


def doubled(number: int) -> int:
    time.sleep(0.02 if number % 3 == 0 else 0)
    return 2 * number


def killed(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refused(number: int) -> int:
    if number == 3:
        raise DataError.one("DATA-X", "no good", "here")
    return number


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_the_inputs(count: int) -> None:
    assert list(in_order(doubled, range(40), workers=count)) == list(range(0, 80, 2))


@pytest.fixture(autouse=True)
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tasks of this file are not to be had in a new process, whose tests have other names."""
    monkeypatch.setattr("hone.data.workers.starts_quickly", lambda: True)


def test_workers_that_are_new_processes_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hone.data.workers.starts_quickly", lambda: False)
    assert list(in_order(abs, range(-20, 20), workers=2)) == [abs(number) for number in range(-20, 20)]


def test_a_process_with_a_thread_of_its_own_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    assert not workers.starts_quickly()
    end.set()
    other.join()


def test_inputs_and_results_larger_than_any_pipe_pass() -> None:
    assert sum(len(made) for made in in_order(bytes, [bytes(3_000_000)] * 20, workers=2)) == 60_000_000


def test_a_killed_worker_ends_the_run_soon_with_its_signal() -> None:
    began = time.monotonic()
    with pytest.raises(MachineError, match=r"worker \d killed \(signal 9\), likely out of memory") as error:
        list(in_order(killed, range(1000), workers=2))
    assert error.value.exit_code == 6
    assert time.monotonic() - began < 30


def test_a_fault_in_a_worker_is_the_fault_of_the_run() -> None:
    with pytest.raises(DataError, match="no good"):
        list(in_order(refused, range(1000), workers=2))


def test_stopping_early_leaves_no_process_behind() -> None:
    results = in_order(doubled, range(1000), workers=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    import multiprocessing

    assert not [child for child in multiprocessing.active_children() if child.name.startswith("hone-data")]
