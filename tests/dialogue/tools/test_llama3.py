"""Llama 3's tool prompt."""

from __future__ import annotations

import datetime

import pytest

from hone.dialogue.slots import joined
from hone.dialogue.tools import llama3


def test_the_date_is_english_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama3, "today", lambda: datetime.date(2026, 5, 3))
    assert "Today Date: 03 May 2026\n" in joined(llama3.describe([{"name": "f"}]))


def test_one_call_is_an_object_and_several_are_a_list() -> None:
    call = llama3.read('{"name": "f", "parameters": {}}')
    assert call is not None
    assert joined(llama3.write(call)) == '{"name": "f", "parameters": {}}'  # type: ignore[arg-type]
    assert joined(llama3.write(call * 2)).startswith("[{")  # type: ignore[arg-type]
