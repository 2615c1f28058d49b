"""Modelfile templates filled in by Go itself, as Ollama does it: the text of our renderer, with tools and thoughts."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from speaking import CALLS, TOOL, answer, common, result, results, system, talk, text_of, user

from hone.dialogue.compile.go import compile_go
from hone.dialogue.compile.go_tools import go_tools_refusal
from hone.dialogue.compile.jinja import jinja_refusal
from hone.dialogue.message import Conversation, Thought
from hone.dialogue.render import render_answer, render_prompt
from hone.dialogue.template import Template, load_template, template_names
from hone.dialogue.tools import llama3
from hone.dialogue.tools._json import dump, function, wrapped

HERE = Path(__file__).parent
VERIFIED = HERE / "ollama" / "verified.json"
"""What each card compiled to when Go last filled it in and every text was right: `python TESTFILE` writes it anew."""
NAMES = [name for name in template_names() if jinja_refusal(load_template(name)) is None]
PLAIN = [
    talk(user("q"), answer("a")),
    talk(
        system("Be brief."),
        user("你好"),
        answer("好 {{ .System }}"),
        user('<r> & "s"\n'),
        answer("b"),
        user("s"),
        answer("c"),
    ),
]
THOUGHTS = [
    talk(user("q"), answer(Thought("hm"), "a")),
    talk(user("q"), answer(Thought("hm"), "a"), user("r"), answer("b"), user("s"), answer(Thought("so"), "c")),
]
TOOLS = [
    talk(user("q"), answer("a"), tools=(TOOL,)),
    talk(user("q"), answer(CALLS[0]), result("3"), answer("three"), tools=(TOOL,)),
    talk(
        system("s"), user("q"), answer(Thought("hm"), "look", CALLS[1]), result("猫"), answer("so"), tools=(TOOL,) * 2
    ),
    talk(user("q"), answer(*CALLS), results("1", "2", "3"), answer("so"), user("r"), answer("x"), tools=(TOOL,)),
]


def talks_of(template: Template) -> list[Conversation]:
    thoughts = THOUGHTS if template.thinking is not None else []
    return [*PLAIN, *thoughts, *(TOOLS if go_tools_refusal(template) is None else [])]


def given(name: str, said: Conversation, *, enable: bool | None) -> dict[str, Any]:
    """What Ollama fills in. JSON is handed over as text, in our spacing: how Ollama spaces it is its own affair."""
    card = load_template(name)
    messages = []
    for one in common(said):
        calls = [
            {"Function": {"Name": call["function"]["name"], "Arguments": dump(call["function"]["arguments"])}}
            for call in one.get("tool_calls", ())
        ]
        thought = one.get("reasoning_content", "")
        messages.append({"Role": one["role"], "Content": one["content"], "Thinking": thought, "ToolCalls": calls})
    return {
        "Template": compile_go(card, bos="<BOS>", eos="<EOS>"),
        "System": said.system or card.default_system,
        "Messages": messages,
        "Tools": [{"Type": "function", "Function": dump(function(tool))} for tool in said.tools],
        "Think": enable,
    }


def expected(template: Template, said: Conversation, *, asks: bool) -> str:
    pieces = (
        render_prompt(template, said) if asks else [made for side in render_answer(template, said) for made in side]
    )
    text = text_of(pieces)
    for tool in said.tools:  # Llama 3 indents its schemas
        text = text.replace(dump(wrapped(tool), indent=4), dump(wrapped(tool)))
    return text


def all_cases() -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """What is filled in, and (card, what should come out) for each."""
    filled, wanted = [], []
    for name in NAMES:
        card = load_template(name)
        for enable in (True, False) if card.thinking is not None else (None,):
            template = card.with_options(enable_thinking=enable)
            for said in talks_of(card):
                asked = Conversation(said.messages[:-1], said.tools)
                for one, asks in ((asked, True), (said, False)):
                    filled.append(given(name, one, enable=enable))
                    wanted.append((name, expected(template, one, asks=asks)))
    return filled, wanted


def fill(cases: list[dict[str, Any]], folder: Path) -> list[str]:
    program = folder / "ollama"
    subprocess.run(["go", "build", "-o", program, HERE / "ollama" / "main.go"], check=True, cwd=folder, timeout=300)
    told = subprocess.run([program], input=json.dumps(cases).encode(), check=True, capture_output=True, timeout=60)
    return list(json.loads(told.stdout))


def fingerprints() -> dict[str, str]:
    texts = {name: compile_go(load_template(name), bos="<BOS>", eos="<EOS>") for name in NAMES}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()}


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not here; what it filled in before is held by its hash")
def test_go_writes_what_the_renderer_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama3, "today", lambda: datetime.date(2024, 7, 26))
    filled, wanted = all_cases()
    texts = fill(filled, tmp_path)
    wrong = [(name, text, want) for text, (name, want) in zip(texts, wanted, strict=True) if text != want]
    assert wrong[:3] == [] and len(texts) > 1000


def test_every_template_is_one_that_go_has_filled_in() -> None:
    """Where Go is not at hand. After a change of a card or of the compiler: run the test above, then this file."""
    assert fingerprints() == json.loads(VERIFIED.read_text("utf-8"))


def test_tools_are_written_by_the_dialects_that_are_json() -> None:
    able = {load_template(name).calls for name in NAMES if go_tools_refusal(load_template(name)) is None}
    assert able == {"qwen", "ling", "llama3", "mistral", "minimax1"}
    assert ".Tools" in compile_go(load_template("qwen3")) and ".Tools" not in compile_go(load_template("qwen3_5"))


if __name__ == "__main__":
    VERIFIED.write_text(json.dumps(fingerprints(), indent=1) + "\n", "utf-8")
