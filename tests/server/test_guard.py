"""The key: compared so that nothing is learned from how long it took."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

import pytest

from hone.server.guard import Door
from hone.server.refusal import RefusedError

KEY = "sesame-opens-this-" * 200


def tried(door: Door, key: str) -> float:
    """Seconds that it took to refuse, or take, a key."""
    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {key}".encode())]
    began = time.perf_counter()
    try:
        door.check("/v1/models", headers)
    except RefusedError as refused:
        assert (refused.status, key == KEY) == (401, False)
    else:
        assert key == KEY
    return time.perf_counter() - began


def test_keys_are_compared_by_hashes_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, compare = [], hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    for key in ("", "x", KEY[:-1], KEY, KEY + "x"):
        tried(Door(KEY), key)
    assert compared == [(32, 32)] * 5


def test_a_key_that_is_nearly_right_is_refused_no_later_than_one_that_is_all_wrong() -> None:
    door, middle = Door(KEY), 1500
    keys: dict[str, Callable[[], str]] = {"near": lambda: KEY[:-1] + "x", "far": lambda: "x" * len(KEY)}
    took = {name: sorted(tried(door, key()) for _ in range(2 * middle + 1))[middle] for name, key in keys.items()}
    assert abs(took["near"] - took["far"]) < 5e-6
