"""Damaged data files, thousands of them: every outcome is a row, a broken row or a DataError, and what was not damaged
is read as if the rest were not there."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from letters import LetterEncoder, Sft

from hone.data.book import look_up
from hone.data.prepare import gatherer_of
from hone.data.row import BadRow
from hone.data.sources import endings, read_rows
from hone.data.stage import Limits
from hone.errors import DataError

ROWS = [{"instruction": f"question {n} é\u2028", "input": "", "output": f'answer "{n}", 你好'} for n in range(12)]
BYTES = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b"\n", b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"NaN",
         b"null", b"1e999", b"-", b"[" * 3000, b"9" * 5000, b"\xef\xbb\xbf", b" " * 70_000, b'"a":1,',
         b"\x1f\x8b"]  # fmt: skip
FEW = {"max_examples": 500, "deadline": None, "derandomize": True, "database": None}
HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
MANY = {**FEW, "max_examples": 10_000, "derandomize": False, "print_blob": True}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

Read = Callable[[bytes, str], tuple[list[list[int]], list[BadRow]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """`read(content, "jsonl")`: the tokens of each row that survives, and the broken rows."""
    gatherer = gatherer_of(
        look_up(["a"], {"a": {"file_name": "a.x", "formatting": "alpaca"}})[0], Sft(), LetterEncoder(), Limits(100)
    )

    def survivors(content: bytes, ending: str) -> tuple[list[list[int]], list[BadRow]]:
        file = tmp_path / f"a.{ending}"
        file.write_bytes(content)
        made = gatherer(list(read_rows((file,))))
        return [example.input_ids.tolist() for example in made_examples(made)], list(made.bad)

    return survivors


def made_examples(made: Any) -> list[Any]:
    return [made.pieces[number] for number in range(len(made.pieces))]


@st.composite
def damage(draw: Any, size: int) -> tuple[int, int, bytes]:
    """Bytes `begin` to `end` of `size`, and what stands there instead."""
    begin = draw(st.integers(0, size))
    end = draw(st.just(begin) | st.integers(begin, min(begin + 40, size)))
    return begin, end, draw(st.sampled_from(BYTES) | st.binary(max_size=6) | st.just(b""))


def damaged(content: bytes, hurt: tuple[int, int, bytes]) -> bytes:
    begin, end, instead = hurt
    return content[:begin] + instead + content[end:]


def lines_of(rows: Sequence[Any]) -> list[bytes]:
    return [json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") for row in rows]


def is_list(first: bytes) -> bool:
    """Lines that begin like a list are read as one, and what does not fit is said."""
    return first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def table(kind: str, path: Path) -> bytes:
    """The rows as a file of that kind."""
    if kind == "csv":
        import csv

        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(ROWS[0]))
            writer.writeheader()
            writer.writerows(ROWS)
        return path.read_bytes()
    import pyarrow
    import pyarrow.parquet

    whole = pyarrow.Table.from_pylist(ROWS)
    if kind == "parquet":
        pyarrow.parquet.write_table(whole, path)
    else:
        with pyarrow.OSFile(str(path), "wb") as stream, pyarrow.ipc.new_file(stream, whole.schema) as writer:
            writer.write_table(whole)
    return path.read_bytes()


def a_damaged_line_harms_no_other(read: Read, data: Any) -> None:
    lines = lines_of(ROWS)
    clean, _ = read(b"\n".join(lines), "jsonl")
    place = data.draw(st.integers(0, len(lines) - 1))
    lines[place] = damaged(lines[place], data.draw(damage(len(lines[place]))))
    try:
        kept, bad = read(b"\n".join(lines), "jsonl")
    except DataError as error:
        assert error.exit_code == 3
        return
    if is_list(lines[0]):
        assert bad
        return
    after = clean[place + 1 :]
    assert kept[:place] == clean[:place]
    assert kept[len(kept) - len(after) :] == after


def a_strange_value_harms_no_other_row(read: Read, data: Any, ending: str) -> None:
    rows: list[Any] = [dict(row) for row in ROWS]
    place = data.draw(st.integers(0, len(rows) - 1))
    strange = data.draw(VALUES)
    rows[place] = (
        strange if data.draw(st.booleans()) else {**rows[place], data.draw(st.sampled_from(list(ROWS[0]))): strange}
    )
    wrap = (lambda lines: b"[" + b",".join(lines) + b"]") if ending == "json" else b"\n".join
    clean, _ = read(wrap(lines_of(ROWS)), ending)
    try:
        kept, bad = read(wrap(lines_of(rows)), ending)
    except DataError as error:
        assert error.exit_code == 3
        return
    if ending == "jsonl" and is_list(lines_of(rows)[0]):
        assert bad
        return
    assert kept[:place] == clean[:place]
    assert kept[len(kept) - (len(ROWS) - place - 1) :] == clean[place + 1 :]
    assert all(row.number == place + 1 for row in bad)


def damage_ends_in_rows_or_a_fault(read: Read, data: Any, content: bytes, ending: str) -> None:
    """No exception but DataError; what stands wholly before the damage is unharmed where rows stand one by one."""
    hurt = data.draw(damage(len(content)))
    try:
        kept, bad = read(damaged(content, hurt), ending)
    except DataError as error:
        assert error.exit_code == 3
        assert all(fault.where for fault in error.faults)
        return
    assert all(row.code and row.what and row.number >= 1 for row in bad)
    if ending == "json":
        before = sum(content.index(line) + len(line) < hurt[0] for line in lines_of(ROWS))
        clean, _ = read(content, ending)
        # A file whose first bytes are hurt may be read as lines of objects.
        assert kept[:before] == clean[:before] or hurt[0] == 0


def whole_list() -> bytes:
    return b"[" + b",\n".join(lines_of(ROWS)) + b"]"


@given(data=st.data())
@settings(**FEW, suppress_health_check=HEALTH)
def test_a_damaged_line_harms_no_other(read: Read, data: Any) -> None:
    a_damaged_line_harms_no_other(read, data)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@given(data=st.data())
@settings(**FEW, suppress_health_check=HEALTH)
def test_a_strange_value_harms_no_other_row(read: Read, ending: str, data: Any) -> None:
    a_strange_value_harms_no_other_row(read, data, ending)


@given(data=st.data())
@settings(**FEW, suppress_health_check=HEALTH)
def test_a_damaged_list_ends_in_rows_or_a_fault(read: Read, data: Any) -> None:
    damage_ends_in_rows_or_a_fault(read, data, whole_list(), "json")


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_a_damaged_table_ends_in_rows_or_a_fault(read: Read, kind: str, tmp_path: Path) -> None:
    tables(read, kind, tmp_path, FEW)


def tables(read: Read, kind: str, folder: Path, amount: Any) -> None:
    assert kind in endings()
    content = table(kind, folder / f"whole.{kind}")
    assert len(read(content, kind)[0]) == len(ROWS)

    @given(data=st.data())
    @settings(**amount, suppress_health_check=HEALTH)
    def check(data: Any) -> None:
        damage_ends_in_rows_or_a_fault(read, data, content, kind)

    check()


@pytest.mark.parametrize("seed", range(20))
def test_survivors_equal_the_clean_file_without_the_bad_rows(read: Read, seed: int) -> None:
    chosen = random.Random(seed)
    broken = set(chosen.sample(range(len(ROWS)), 3))
    breaks = [lambda line: line.replace(b": ", b" ", 1), lambda line: line[:-1], lambda line: line[1:], lambda _: b"5"]
    lines = [chosen.choice(breaks)(line) if place in broken else line for place, line in enumerate(lines_of(ROWS))]
    kept, bad = read(b"\n".join(lines), "jsonl")
    clean, _ = read(b"\n".join(line for place, line in enumerate(lines_of(ROWS)) if place not in broken), "jsonl")
    assert kept == clean
    assert sorted(row.line for row in bad) == sorted(place + 1 for place in broken)


@pytest.mark.slow
@given(data=st.data())
@settings(**MANY, suppress_health_check=HEALTH)
def test_many_damaged_lines(read: Read, data: Any) -> None:
    a_damaged_line_harms_no_other(read, data)


@pytest.mark.slow
@given(data=st.data())
@settings(**MANY, suppress_health_check=HEALTH)
def test_many_damaged_lists(read: Read, data: Any) -> None:
    damage_ends_in_rows_or_a_fault(read, data, whole_list(), "json")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow"])
def test_many_damaged_tables(read: Read, kind: str, tmp_path: Path) -> None:
    tables(read, kind, tmp_path, MANY)
