"""Tool dialects against the corpus: how tools are described, calls written, and a model's text read."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
import rules
from corpus import Tally, cases, needs_corpus

from hone.dialogue.message import Message, ToolCall
from hone.dialogue.slots import joined
from hone.dialogue.template import GENERIC
from hone.dialogue.tools import dialect, dialect_names, llama3
from hone.dialogue.wording import read_function_text, read_tools, write_message
from hone.errors import HoneError

FAMILY = "tools"


def describe(name: str, text: str) -> dict[str, Any]:
    tools = read_tools(text)
    return {"text": joined(dialect(name).describe(tools)) if tools else ""}


def write(name: str, text: str) -> dict[str, Any]:
    parts = read_function_text(text, GENERIC)
    front = write_message(Message("assistant", tuple(part for part in parts if not isinstance(part, ToolCall))))
    return {"text": front + joined(dialect(name).write([part for part in parts if isinstance(part, ToolCall)]))}


def read(name: str, text: str) -> dict[str, Any]:
    found = dialect(name).read(text)
    calls = [part for part in found or () if isinstance(part, ToolCall)]
    return {"calls": [[call.name, call.arguments] for call in calls]} if calls else {"text": text}


DOES = {"describe_tools": describe, "format_call": write, "extract": read}


def expected(case: dict[str, Any]) -> dict[str, Any]:
    if "calls" not in case["expect"]:
        return case["expect"]
    return {"calls": [[call["name"], decoded(call["arguments"])] for call in case["expect"]["calls"]]}


def decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def all_wrapped_calls(case: dict[str, Any]) -> dict[str, Any] | None:
    return rules.all_wrapped_calls(case, write)


def strings_are_decoded(case: dict[str, Any]) -> dict[str, Any] | None:
    return rules.strings_are_decoded(case, read)


RULES = (
    all_wrapped_calls,
    rules.written_calls_are_well_formed,
    strings_are_decoded,
    rules.own_calls_are_read,
    rules.no_calls_is_text,
    rules.flat_tools,
)


def explained(case: dict[str, Any]) -> bool:
    """Whether the rules turn what is recorded into what is written or read."""
    meant = rules.meant(case, *RULES)
    return meant is not None and fault(meant) is None


def fault(case: dict[str, Any]) -> str | None:
    want = expected(case)
    try:
        got = DOES[case["op"]](case["format"], case["input"])
    except HoneError as error:
        return None if "error" in want else f"{error} where {want} was expected"
    if "error" in want:
        return None if want["error"].get("incidental") else f"{got} where an error was expected"
    return None if got == want else f"\n  got  {got}\n  want {want}"


@needs_corpus
@pytest.mark.parametrize("name", sorted({case["format"] for case in cases(FAMILY)}))
def test_a_dialect_describes_writes_and_reads_as_recorded(
    name: str, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama3, "today", lambda: datetime.date(2026, 1, 2))
    faults = []
    for case in (case for case in cases(FAMILY) if case["format"] == name):
        if name in dialect_names():
            wrong = fault(case)
            on_purpose = wrong is not None and explained(case)
            faults.append(tally.judge(FAMILY, case["id"], wrong, explained=on_purpose))
        else:
            tally.record(FAMILY, case["id"], "not built")
    assert "\n".join(filter(None, faults)) == ""
