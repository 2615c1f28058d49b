"""The sets that come with Hone can be read, and hold no broken, empty or double row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hone.data.book import look_up
from hone.data.formats import load_format
from hone.data.placeholders import fill
from hone.data.row import Row
from hone.data.sources import files_at, read_rows
from hone.data.worth import digest, has_placeholder, nothing_to_learn, whole_text
from hone.dialogue.records import Chat, Feedback, Preference

DATA = Path(__file__).parents[2] / "data"
NAMES = json.loads((DATA / "dataset_info.json").read_text("utf-8"))
KINDS = {"dpo_en_demo": Preference, "kto_en_demo": Feedback}
FEWEST = {"identity": 80, "alpaca_en_demo": 48, "alpaca_zh_demo": 48, "adgen_local": 48}


@pytest.mark.parametrize("name", NAMES)
def test_a_demo_set_is_whole(name: str) -> None:
    entry = look_up([name], DATA)[0]
    rows = list(read_rows(files_at(entry.path)))
    records = [load_format(entry.formatting)(row.value, entry) for row in rows if isinstance(row, Row)]
    assert len(records) == len(rows) >= FEWEST.get(name, 20)
    if name != "c4_demo":
        kind = KINDS.get(name, Chat)
        assert all(isinstance(record, kind) and not nothing_to_learn(record) for record in records)
    assert len({digest(whole_text(record)) for record in records}) == len(records)


def test_the_identity_set_is_filled_in_completely() -> None:
    rows = json.loads((DATA / "identity.json").read_text("utf-8"))
    entry = look_up(["identity"], DATA)[0]
    filled = [load_format("alpaca")(row, entry) for row in fill(rows, "Pebble", "the Hone project")]
    assert not any(has_placeholder(whole_text(record)) for record in filled)
    assert sum("Pebble" in row["output"] for row in fill(rows, "Pebble", "x")) > 80


def test_a_name_that_looks_like_a_placeholder_stays_a_name() -> None:
    rows = fill([{"output": "{{name}} of {{author}}", "history": [["{{author}}", 5]]}], "{{author}}", "A")
    assert rows == [{"output": "{{author}} of A", "history": [["A", 5]]}]
