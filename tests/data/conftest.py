"""A folder with a book and its sets, for the tests of the data room."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that the tests beside this file can say `from letters import …`

from letters import MakeSets


@pytest.fixture
def make_sets(tmp_path: Path) -> MakeSets:
    """`make_sets(a=rows, b=(rows, {"formatting": …}))` writes one file a set and the book; gives the folder."""

    def make(**sets: Any) -> Path:
        folder = tmp_path / "sets"
        folder.mkdir(exist_ok=True)
        book: dict[str, Mapping[str, Any]] = {}
        for name, given in sets.items():
            rows, entry = given if isinstance(given, tuple) else (given, {})
            text = rows if isinstance(rows, str) else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
            (folder / f"{name}.jsonl").write_text(text, "utf-8")
            book[name] = {"file_name": f"{name}.jsonl", **entry}
        (folder / "dataset_info.json").write_text(json.dumps(book, ensure_ascii=False), "utf-8")
        return folder

    return make
