"""What is saved beside a model for other programs: chat templates and Modelfiles against the corpus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from corpus import Tally, cases, needs_corpus

from hone.dialogue.compile.go import compile_go, modelfile
from hone.dialogue.compile.jinja import compile_jinja, jinja_refusal
from hone.dialogue.jinja import compile_template
from hone.dialogue.template import Template, load_template, template_names
from hone.errors import ModelError

FAMILY = "template_export"
TOKENS = {"bos_token": "<BOS>", "eos_token": "<EOS>"}


def explained(case: dict[str, Any]) -> bool:
    """Whether the case is recorded as Hone writes it but for what it leaves out: results, tools and thoughts, or the
    place of a system text that belongs into the first question."""
    card = load_template(case["template"])
    if case["kind"] == "ollama_modelfile":
        return modelfile_fault(case, replace(card, system_in_user=False), short=True) is None
    kept = [message for message in case["messages"] if message["role"] != "tool"]
    return len(kept) < len(case["messages"]) and chat_template_fault({**case, "messages": kept}) is None


def chat_template_fault(case: dict[str, Any]) -> str | None:
    template, want = load_template(case["template"]), case["expect"]
    if jinja_refusal(template) is not None:
        return None if want.get("chat_template", "") is None else "no chat template can be made"
    if "text" not in want:
        return "a chat template is made, none was expected"
    try:
        text = compile_template(compile_jinja(template))({"messages": case["messages"], **TOKENS})
    except ModelError as error:
        return str(error)
    return None if text == want["text"] else f"\n  got  {text!r}\n  want {want['text']!r}"


def modelfile_fault(case: dict[str, Any], template: Template, *, short: bool = False) -> str | None:
    want = case["expect"]
    try:
        compile_go(template)
    except ModelError as error:
        return None if "error" in want else str(error)
    if "error" in want:
        return "a Modelfile is made, none was expected"
    lines = modelfile(template, bos="<BOS>", eos="<EOS>", short=short).splitlines(keepends=True)[1:]
    stops = sorted(line.removeprefix("PARAMETER stop ").rstrip() for line in lines if line.startswith("PARAMETER stop"))
    text = "".join(line for line in lines if not line.startswith("PARAMETER stop"))
    expected = want["modelfile_without_stop_lines"].partition("\n")[2]
    if stops != sorted(want["stop_lines"]):
        return f"stops {stops} where {want['stop_lines']} were expected"
    return None if text == expected else f"\n  got  {text!r}\n  want {expected!r}"


@needs_corpus
@pytest.mark.parametrize("name", sorted({case["template"] for case in cases(FAMILY)}))
def test_a_card_is_exported_as_recorded(name: str, tally: Tally) -> None:
    faults = []
    for case in (case for case in cases(FAMILY) if case["template"] == name):
        if name not in template_names():
            tally.record(FAMILY, case["id"], "not built")
            continue
        written = case["kind"] == "ollama_modelfile"
        fault = modelfile_fault(case, load_template(name)) if written else chat_template_fault(case)
        on_purpose = fault is not None and explained(case)
        faults.append(tally.judge(FAMILY, case["id"], fault, explained=on_purpose))
    assert "\n".join(filter(None, faults)) == ""
