"""Near-duplicates are found, equal texts and strangers are not, and memory has a bound."""

from __future__ import annotations

import random

import pytest

from hone.data.health import twins
from hone.data.health.twins import Pair, Twins

WORDS = [f"word{number}" for number in range(500)]


def page(seed: int, length: int = 80) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def pairs(*texts: str) -> list[Pair]:
    held = Twins()
    for text in texts:
        held.add(text, hash(text) & 0xFFFF_FFFF)
    return held.pairs()


@pytest.mark.parametrize("changed", ["{} and so on", "Well: {}", "{}!", "  {}\n"])
def test_a_text_with_a_small_change_is_alike(changed: str) -> None:
    assert pairs(page(1), page(2), changed.format(page(1))) == [Pair(2, 0)]


def test_chinese_needs_no_spaces() -> None:
    text = "".join(chr(0x4E00 + random.Random(5).randrange(3000) + place) for place in range(200))
    assert pairs(text, text[:-3] + "你好吗") == [Pair(1, 0)]


def test_strangers_are_not_alike() -> None:
    assert pairs(*(page(seed) for seed in range(300))) == []


def test_equal_texts_are_counted_elsewhere() -> None:
    assert pairs(page(1), page(1)) == []


def test_texts_too_short_to_judge_are_alike_to_nothing() -> None:
    assert pairs("yes", "yes!", "", "no") == []


def test_short_texts_do_not_shift_the_numbers() -> None:
    assert pairs("a", page(1), "b", page(1) + " end") == [Pair(3, 1)]


def test_texts_beyond_the_bound_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "MOST", 2)
    held = Twins()
    for seed in range(5):
        held.add(page(seed), seed)
    assert (len(held.digests), held.left_out) == (2, 3)


def test_lone_surrogates_are_only_letters() -> None:
    assert pairs("\ud800" * 40, page(1)) == []
