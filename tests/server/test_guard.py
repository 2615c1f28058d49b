"""The key: compared so that nothing is learned from how long it took."""

from __future__ import annotations

import hmac

import pytest

from hone.server.guard import Door
from hone.server.refusal import RefusedError

KEY = "sesame-opens-this-" * 200


def tried(door: Door, key: str) -> None:
    """The key is taken or refused as it should be."""
    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {key}".encode())]
    try:
        door.check("/v1/models", headers)
    except RefusedError as refused:
        assert (refused.status, key == KEY) == (401, False)
    else:
        assert key == KEY


def test_keys_are_compared_by_hashes_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, compare = [], hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    for key in ("", "x", KEY[:-1], KEY, KEY + "x"):
        tried(Door(KEY), key)
    assert compared == [(32, 32)] * 5
