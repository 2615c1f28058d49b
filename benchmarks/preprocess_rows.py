"""Instruction rows by the tens of thousands, made from the words of the demo sets: the same ones each time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

DEMOS = Path(__file__).parents[1] / "data"
LETTERS = ("bcdfhklmnprstvwy", "aeiou")
ENDINGS = ["", "s", "ed", "ing", "ly", "tion"]
RARE = 80_000
"""Words that the demo sets do not have, of which most come a few times: as many different words as real text has, so
that a tokenizer that remembers words gains no more here than there."""


def write_rows(path: Path, count: int) -> None:
    """A JSON list of `count` rows: nine of ten in words, one in Chinese; about 170 tokens each."""
    with path.open("w", encoding="utf-8") as target:
        target.write("[")
        for number, row in enumerate(_rows(count)):
            target.write(("," if number else "") + "\n" + json.dumps(row, ensure_ascii=False))
        target.write("\n]\n")


def _rows(count: int) -> Iterator[dict[str, str]]:
    chance = random.Random(7)
    words = [word for text in _texts("alpaca_en_demo.json") for word in text.split()]
    letters = [letter for text in _texts("alpaca_zh_demo.json") for letter in text]
    rare = [_word(chance) for _ in range(RARE)]
    for number in range(count):
        if number % 10 == 9:
            asked, answered = ("".join(chance.choices(letters, k=length)) for length in (20, 100))
            yield {"instruction": asked, "input": "", "output": answered}
            continue
        given = _sentence(chance, words, rare, chance.randint(5, 20)) if chance.random() < 0.4 else ""
        asked = _sentence(chance, words, rare, chance.randint(8, 20))
        yield {
            "instruction": asked,
            "input": given,
            "output": _sentence(chance, words, rare, chance.randint(20, 120)),
        }


def _word(chance: random.Random) -> str:
    syllables = ["".join(map(chance.choice, LETTERS)) for _ in range(chance.randint(2, 4))]
    return "".join(syllables) + chance.choice(ENDINGS)


def _sentence(chance: random.Random, words: list[str], rare: list[str], length: int) -> str:
    kinds = chance.choices(["common", "rare", "number"], [92, 6, 2], k=length)
    made = {
        "common": lambda: chance.choice(words),
        "rare": lambda: rare[min(int(chance.paretovariate(0.6)), RARE - 1)],
        "number": lambda: str(chance.randint(0, 99_999)),
    }
    return " ".join(made[kind]() for kind in kinds)


def _texts(name: str) -> list[str]:
    rows = json.loads((DEMOS / name).read_text(encoding="utf-8"))
    return [text for row in rows for text in row.values() if isinstance(text, str)]
