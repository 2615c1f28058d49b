"""docs/faults.md says which test holds which case: each id stands there once, and each test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs/faults.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_case_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| ([A-Z]\d\d) \|(.*)\|$", TABLE.read_text("utf-8"), re.MULTILINE)
    ids = [row[0] for row in rows]
    assert len(rows) > 20 and len(set(ids)) == len(ids)
    assert not [name for name, cells in rows if not TEST.search(cells)]


def test_every_test_that_is_named_exists() -> None:
    named = TEST.findall(TABLE.read_text("utf-8"))
    missing = []
    for file, name in sorted(set(named)):
        path = ROOT / file
        body = ast.parse(path.read_text("utf-8")).body if path.is_file() else []
        if name not in {one.name for one in body if isinstance(one, ast.FunctionDef)}:
            missing.append(f"{file}::{name}")
    assert not missing
