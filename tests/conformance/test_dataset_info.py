"""What an entry of dataset_info.json says about a data set."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpus import Tally, cases, needs_corpus

from hone.data.book import KNOWN, Columns, Entry, Tags, look_up
from hone.errors import DataError

FAMILY = "dataset_info"


def attributes(entry: Entry) -> dict[str, Any]:
    plain = {key: getattr(entry, key) for key in ("formatting", "ranking", "subset", "split", "folder", "num_samples")}
    return {
        "load_from": entry.place,
        "dataset_name": entry.location,
        **plain,
        **asdict(entry.columns),
        **asdict(entry.tags),
    }


def looked_up(case: dict[str, Any], folder: Path) -> list[dict[str, Any]] | DataError:
    if case["dataset_info"] is not None:
        (folder / "dataset_info.json").write_text(json.dumps(case["dataset_info"], ensure_ascii=False), "utf-8")
    where = str(folder) if case["dataset_dir"] == "{dataset_dir}" else case["dataset_dir"]
    try:
        return [attributes(entry) for entry in look_up(case["dataset_names"] or (), where)]
    except DataError as error:
        return error


def on_purpose(case: dict[str, Any], found: Any) -> bool:
    """Rules under which an entry is refused, or read otherwise, on purpose (see docs/datasets.md)."""
    book = case["dataset_info"] or {}
    entries = [book[name] for name in case["dataset_names"] or () if isinstance(book.get(name), dict)]
    if isinstance(found, DataError):
        codes = {fault.code for fault in found.faults}
        return (
            bool(codes)
            and codes <= {"DATA-KEY", "DATA-SCRIPT", "DATA-OUTSIDE", "DATA-VALUE"}
            and any(has_unknown_keys(entry) or "script_url" in entry or "file_name" in entry for entry in entries)
        )
    return any(entry.get(key, 0) is None for entry in entries for key in ("split", "formatting", "ranking"))


def has_unknown_keys(entry: dict[str, Any]) -> bool:
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    known = (set(Columns.__dataclass_fields__), set(Tags.__dataclass_fields__))
    return bool(set(entry) - set(KNOWN) or set(columns) - known[0] or set(tags) - known[1])


@needs_corpus
def test_entries_say_what_the_corpus_says(tally: Tally, tmp_path: Path) -> None:
    faults = []
    for number, case in enumerate(cases(FAMILY)):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = looked_up(case, folder)
        if "error" in case["expect"]:
            fault = None if isinstance(found, DataError) else f"no error, but {found}"
        else:
            fault = None if found == case["expect"]["attrs"] else f"{found}"
        if fault and on_purpose(case, found):
            tally.record(FAMILY, case["id"], "deliberate")
        else:
            faults.append(tally.judge(FAMILY, case["id"], fault))
    assert not [fault for fault in faults if fault]
