"""A storm of good and bad requests, some of whose clients leave: no 5xx, no hang, nobody gets another's answer, and
nothing of this machine is told. `make soak` sends more of them to a process of its own (`soak.py`)."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from storm import PROMPTS, answered, storm

STORM = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "default" else 500
"""Requests: many at night, few in CI."""


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def weathered(served: Any, count: int, seed: int, *, pictures: bool = False) -> Counter[int]:
    """The statuses of bad requests, after a storm that did no harm."""
    alone = answered(served.url, PROMPTS[0])
    found = storm(served.url, count, seed, pictures=pictures)
    assert [fault for told in found for fault in told.faults] == []
    deadline = time.monotonic() + 30
    while served.engine.scheduler.load and time.monotonic() < deadline:
        time.sleep(0.01)
    assert served.engine.scheduler.load == 0
    assert answered(served.url, PROMPTS[0]) == alone
    assert sum(told.kind == "good" and told.status == 200 for told in found) > count / 50
    return Counter(told.status for told in found if told.kind == "bad")


def test_a_storm_of_requests_leaves_the_server_as_it_was(served: Any) -> None:
    weathered(served, STORM // 4, 7)
    before = memory()
    found = weathered(served, STORM, 8)
    assert memory() - before < 50 * 2**20
    assert found[400] > STORM / 10 and found[200] > 0


def test_a_storm_of_pictures_leaves_the_server_as_it_was(seeing_served: Any) -> None:
    found = weathered(seeing_served, STORM // 4, 9, pictures=True)
    assert found[400] > STORM / 50 and found[200] > STORM / 100 and found[403] > 0
