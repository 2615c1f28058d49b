"""The conformance corpus: where it lies, its cases, the differences made on purpose, and the count of what passed."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
NAMED = bool(os.environ.get("HONE_CORPUS"))
"""Whether a corpus was asked for, instead of the one beside the repository."""

CORPUS = Path(os.environ.get("HONE_CORPUS") or REPOSITORY.parent / "shared" / "conformance")
OUTCOMES = ("passed", "deliberate", "not built", "failed")
PROPERTY = "conformance"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason=f"no conformance corpus at {CORPUS} (set HONE_CORPUS to its folder)"
)


@cache
def cases(family: str) -> list[dict[str, Any]]:
    """The rows of `<family>.jsonl`; none where the corpus or the family is absent."""
    file = CORPUS / f"{family}.jsonl"
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


@cache
def table(name: str) -> dict[str, Any]:
    """A keyed JSON file of the corpus, `conversations` or `processor_records`."""
    file = CORPUS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def families() -> dict[str, int]:
    """Every family of the corpus and how many cases it has; the recorded losses are one family."""
    counted = {file.stem: len(cases(file.stem)) for file in sorted(CORPUS.glob("*.jsonl"))}
    losses = len(list(CORPUS.glob("losses/*.json")))
    return counted | ({"losses": losses} if losses else {})


@dataclass(frozen=True)
class Difference:
    """Cases in which Hone differs on purpose: which (`family/case id`, * for any text), why, and the test of what it
    does instead. `rule`: the function that turns what is recorded into what is meant, in this folder; the cases named
    beside it are those that it was made for, and only what it explains to the letter is deliberate."""

    name: str
    cases: tuple[str, ...]
    reason: str
    test: str
    rule: str = ""


@cache
def differences() -> tuple[Difference, ...]:
    """The list in deliberate.toml."""
    listed = tomllib.loads((HERE / "deliberate.toml").read_text(encoding="utf-8")).get("difference", [])
    return tuple(Difference(**{**entry, "cases": tuple(entry["cases"])}) for entry in listed)


def deliberate(family: str, case_id: str) -> Difference | None:
    """The entry of deliberate.toml that names this case and has no rule, if there is one."""
    found = f"{family}/{case_id}"
    listed = (one for one in differences() if not one.rule)
    return next((one for one in listed if any(fnmatchcase(found, case) for case in one.cases)), None)


class Tally:
    """What one test found out; the run's summary adds it up."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties

    def record(self, family: str, case_id: str, outcome: str) -> None:
        """`outcome` is one of `OUTCOMES`."""
        assert outcome in OUTCOMES, outcome
        self._properties.append((PROPERTY, (family, case_id, outcome)))

    def judge(self, family: str, case_id: str, fault: str | None, *, explained: bool = False) -> str | None:
        """Record a case as passed (`fault` is None), deliberate or failed; gives the fault that is left to report.

        `explained`: a rule says to the letter what is there instead.
        """
        on_purpose = explained or deliberate(family, case_id) is not None
        self.record(family, case_id, "passed" if fault is None else "deliberate" if on_purpose else "failed")
        return None if on_purpose or fault is None else f"{family} {case_id}: {fault}"


def summary_lines(found: dict[tuple[str, str], str]) -> Iterator[str]:
    """The table: one line a family. Cases that nobody looked at are left out of this run where others of the family
    were looked at, else the family counts as not built."""
    yield f"{'family':<20} {'passed/total':>14} {'deliberate':>11} {'not built':>10} {'left out':>9} {'failed':>7}"
    for family, total in families().items():
        count = dict.fromkeys(OUTCOMES, 0)
        for (of_family, _), outcome in found.items():
            count[outcome] += of_family == family
        known = sum(count.values())
        unseen = max(total - known, 0)
        absent, left = (count["not built"], unseen) if known else (unseen, 0)
        score = f"{count['passed']}/{total}" if known else "not built"
        yield f"{family:<20} {score:>14} {count['deliberate']:>11} {absent:>10} {left:>9} {count['failed']:>7}"


def show_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, if any conformance test ran, in this process or in another that reported to it."""
    found = {
        (family, case_id): outcome
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, (family, case_id, outcome) in getattr(report, "user_properties", ())
        if name == PROPERTY
    }
    if found:
        terminalreporter.section(f"conformance with {CORPUS}")
        for line in summary_lines(found):
            terminalreporter.write_line(line)
