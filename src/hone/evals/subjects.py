"""What the makers of benchmarks call their subjects and how they group them (`subjects.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def group_of(benchmark: str, subject: str) -> str:
    """The group of a subject; MMLU's for a benchmark that is not listed, `Other` where it has none."""
    table = _tables()
    groups: Mapping[str, str] = table.get(benchmark, table["mmlu"])["groups"]
    return next((group for group, subjects in groups.items() if subject in subjects.split()), "Other")


def name_of(benchmark: str, subject: str) -> str:
    """What a subject is called in prompts."""
    names: Mapping[str, str] = _tables().get(benchmark, {}).get("names", {})
    return names.get(subject) or subject.replace("_", " ")


@cache
def _tables() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
