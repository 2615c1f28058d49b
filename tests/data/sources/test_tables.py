"""Tables: CSV, Parquet and Arrow give the rows that JSON lines give, damage is a fault, memory stays bounded."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from hone.data.row import BadRow, Row
from hone.data.sources import files_at, read_rows
from hone.errors import DataError, HoneError

ROWS: list[dict[str, Any]] = [{"instruction": "q", "output": 'a\nb, "c"'}, {"instruction": "二", "output": None}]


def read(path: Path) -> list[Row | BadRow]:
    return list(read_rows(files_at(path)))


def values(path: Path) -> list[Any]:
    return [row.value if isinstance(row, Row) else row for row in read(path)]


def table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow

    return pyarrow.Table.from_pylist(rows)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow.parquet

    pyarrow.parquet.write_table(table(rows), path)
    return path


def write_arrow(path: Path, rows: list[dict[str, Any]], *, stream: bool) -> Path:
    import pyarrow

    made = table(rows)
    opener = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with pyarrow.OSFile(str(path), "wb") as sink, opener(sink, made.schema) as writer:
        writer.write_table(made)
    return path


CSV = 'instruction,output\r\nq,"a\nb, ""c"""\r\n\r\n二,\r\n'


@pytest.mark.parametrize("text", [CSV, "\ufeff" + CSV, CSV.removesuffix("\r\n")])
def test_csv_is_read_with_its_quotes_and_an_empty_cell_is_missing(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, "utf-8", newline="")
    assert values(tmp_path / "a.csv") == ROWS


@pytest.mark.parametrize("mark", ["\t", ";"])
def test_csv_with_tabs_or_semicolons_is_csv_too(tmp_path: Path, mark: str) -> None:
    (tmp_path / "a.csv").write_text(f"instruction{mark}output\nq{mark}a, b\n", "utf-8")
    assert values(tmp_path / "a.csv") == [{"instruction": "q", "output": "a, b"}]


def test_a_csv_row_with_too_many_cells_is_broken_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n1,2,3\n4,5\n", "utf-8")
    first, bad, last = read(tmp_path / "a.csv")
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.what) == (3, "3 cells, where the header has 2")
    assert [row.value for row in (first, last) if isinstance(row, Row)] == [{"x": "1", "y": "2"}, {"x": "4", "y": "5"}]


def test_a_quote_that_never_ends_is_a_broken_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('x,y\n1,2\n3,"4\n5,6\n', "utf-8")
    assert isinstance(read(tmp_path / "a.csv")[-1], BadRow)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,x\n1,2\n", "utf-8")
    with pytest.raises(DataError, match="two columns are called `x`"):
        read(tmp_path / "a.csv")


def test_parquet_and_both_kinds_of_arrow_are_read(tmp_path: Path) -> None:
    assert values(write_parquet(tmp_path / "a.parquet", ROWS)) == ROWS
    assert values(write_arrow(tmp_path / "a.arrow", ROWS, stream=True)) == ROWS
    assert values(write_arrow(tmp_path / "b.arrow", ROWS, stream=False)) == ROWS


def test_nan_in_a_table_is_missing(tmp_path: Path) -> None:
    rows = [{"x": float("nan"), "y": [{"z": 1.5}]}, {"x": 2.0, "y": [{"z": float("inf")}]}]
    file = write_parquet(tmp_path / "a.parquet", rows)
    assert values(file) == [{"x": None, "y": [{"z": 1.5}]}, {"x": 2.0, "y": [{"z": None}]}]


def test_a_folder_that_datasets_saved_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
    assert values(tmp_path / "one") == ROWS
    datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)).save_to_disk(tmp_path / "all")
    assert values(tmp_path / "all" / "train") == ROWS
    with pytest.raises(DataError, match=r"several splits.*train"):
        read(tmp_path / "all")


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "txt"])
def test_texts_may_be_packed_with_gzip(tmp_path: Path, ending: str) -> None:
    texts = {"jsonl": "\n".join(json.dumps(row) for row in ROWS), "json": json.dumps(ROWS), "csv": CSV, "txt": "a\nb"}
    (tmp_path / f"a.{ending}").write_text(texts[ending], "utf-8", newline="")
    (tmp_path / f"b.{ending}.gz").write_bytes(gzip.compress(texts[ending].encode()))
    assert values(tmp_path / f"b.{ending}.gz") == values(tmp_path / f"a.{ending}")


def test_texts_may_be_packed_with_zstandard_or_the_missing_package_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.zst"
    try:
        import zstandard
    except ImportError:
        file.write_bytes(b"\x28\xb5\x2f\xfd")
        with pytest.raises(HoneError, match="pip install zstandard") as raised:
            read(file)
        assert raised.value.exit_code == 6
    else:
        file.write_bytes(zstandard.compress("\n".join(json.dumps(row) for row in ROWS).encode()))
        assert values(file) == ROWS


def test_a_packed_file_that_is_cut_off_is_a_fault(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join(json.dumps({"x": number}) for number in range(9999)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-400])
    with pytest.raises(DataError, match="cannot be read to its end"):
        read(tmp_path / "a.jsonl.gz")


def test_a_packed_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot read `\.parquet\.gz` files"):
        read(tmp_path / "a.parquet.gz")


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "jsonl.gz"])
def test_random_damage_is_a_fault_or_a_broken_row_and_nothing_else(tmp_path: Path, kind: str) -> None:
    chance = random.Random(7)
    rows = [{"instruction": f"question {number}", "output": "answer" * 5} for number in range(50)]
    whole = tmp_path / f"whole.{kind}"
    if kind == "parquet":
        write_parquet(whole, rows)
    elif kind == "arrow":
        write_arrow(whole, rows, stream=True)
    elif kind == "csv":
        whole.write_text("instruction,output\n" + "\n".join(",".join(row.values()) for row in rows), "utf-8")
    else:
        whole.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    good = whole.read_bytes()
    damaged = tmp_path / f"damaged.{kind}"
    met = 0
    for _ in range(120):
        content = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        damaged.write_bytes(content[: chance.randint(1, len(content))] if chance.random() < 0.3 else content)
        try:
            met += len(read(damaged)) >= 0
        except HoneError:
            met += 1
    assert met == 120


def test_a_long_table_is_read_in_little_memory(tmp_path: Path) -> None:
    rows = [{"text": f"{number} " * 50} for number in range(40_000)]
    for file in (write_parquet(tmp_path / "a.parquet", rows), write_arrow(tmp_path / "a.arrow", rows, stream=True)):
        tracemalloc.start()
        count = sum(1 for _ in read_rows(files_at(file)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 40_000
        assert peak < 2_000_000
