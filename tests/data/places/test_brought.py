"""Rows that lie elsewhere are brought here once; what cannot be reached is said soon, with its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hone.data.book import Entry, look_up
from hone.data.places import brought
from hone.data.sources import files_at, read_rows
from hone.errors import DataError, HoneError, MachineError

ROWS = [{"instruction": "q", "output": "a"}, {"instruction": "r", "output": "b"}]


def rows(entry: Entry, cache: Path) -> list[Any]:
    return [row.value for row in read_rows(files_at(brought(entry, cache).path))]  # type: ignore[union-attr]


def put(url: str, content: bytes) -> None:
    import fsspec

    with fsspec.open(url, "wb") as stream:
        stream.write(content)


def lines(rows: list[Any]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def cloud(url: str) -> Entry:
    return look_up(["x"], {"x": {"cloud_file_name": url}})[0]


def test_a_file_in_a_cloud_is_copied_and_copied_again_when_it_changed(tmp_path: Path) -> None:
    put("memory://bucket/one/rows.jsonl", lines(ROWS))
    entry = cloud("memory://bucket/one/rows.jsonl")
    assert rows(entry, tmp_path) == ROWS
    before = brought(entry, tmp_path).path
    assert brought(entry, tmp_path).path == before
    put("memory://bucket/one/rows.jsonl", lines(ROWS[:1]))
    assert rows(entry, tmp_path) == ROWS[:1]


def test_a_folder_in_a_cloud_is_all_its_files(tmp_path: Path) -> None:
    for number, row in enumerate(ROWS):
        put(f"memory://bucket/two/{number}.jsonl", lines([row]))
    assert rows(cloud("memory://bucket/two"), tmp_path) == ROWS


def test_a_cloud_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file: memory://bucket/none"):
        rows(cloud("memory://bucket/none.jsonl"), tmp_path)
    assert not list(tmp_path.rglob("cloud-*"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "simplecache::file:///etc/passwd", "local://x"])
def test_no_book_reaches_files_of_this_machine_by_way_of_a_cloud(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="DATA-CLOUD"):
        rows(cloud(url), tmp_path)


def test_a_store_whose_package_is_missing_names_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    with pytest.raises(MachineError, match="pip install s3fs"):
        rows(cloud("s3://bucket/rows.jsonl"), tmp_path)


@pytest.mark.parametrize(("key", "package"), [("ms_hub_url", "modelscope"), ("om_hub_url", "openmind")])
def test_a_hub_whose_package_is_missing_names_it(tmp_path: Path, monkeypatch: Any, key: str, package: str) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MachineError, match=f"pip install {package}"):
        rows(look_up(["x"], {"x": {key: "some/rows"}})[0], tmp_path)


def test_modelscope_is_asked_where_the_environment_says_so(monkeypatch: Any) -> None:
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    both = {"x": {"hf_hub_url": "a/b", "ms_hub_url": "c/d", "revision": "v2", "subset": "s", "folder": "f"}}
    entry = look_up(["x"], both)[0]
    assert (entry.place, entry.location, entry.revision, entry.subset, entry.folder) == (
        "ms_hub",
        "c/d",
        "v2",
        "s",
        "f",
    )
    assert look_up(["org/rows"], "ONLINE")[0].place == "ms_hub"


OFFLINE = """
import sys
from pathlib import Path
from hone.data.book import look_up
from hone.data.places import brought
from hone.errors import HoneError
try:
    brought(look_up(["nobody/has-this"], sys.argv[1])[0], Path(sys.argv[2]))
except HoneError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("where", ["ONLINE", "REMOTE:nobody/has-this"])
def test_an_offline_machine_says_so_within_ten_seconds(tmp_path: Path, where: str) -> None:
    import os

    # A name server and a hub that are nowhere; and no variable that says offline: it has to be found out.
    environment = {key: value for key, value in os.environ.items() if "PROXY" not in key.upper()}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", OFFLINE, where, str(tmp_path)], env=environment, capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 6, done.stderr[-800:]
    assert "HUB-OFFLINE" in done.stdout
    assert time.monotonic() - began < 10


def test_a_local_copy_of_a_hub_set_is_read_through_the_library(tmp_path: Path, monkeypatch: Any) -> None:
    datasets = pytest.importorskip("datasets")
    from hone.data.places import hf_hub

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_bytes(lines(ROWS))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hf_hub, "_answers", lambda repository: True)
    entry = Entry("x", "hf_hub", str(tmp_path / "set"), split="train[:1]")
    assert rows(entry, tmp_path / "mine") == ROWS[:1]
    with pytest.raises(HoneError, match="DATA-HUB"):
        rows(Entry("x", "hf_hub", str(tmp_path / "set"), split="nosplit"), tmp_path / "mine")
