"""Answers with thoughts and calls: whole and delta by delta, in OpenAI's words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.dialogue.encoder import Encoder
from hone.dialogue.template import load_template
from hone.engines.base import Piece
from hone.server.answers import Answer

CALLS = '<tool_call>\n{"name": "look", "arguments": {"at": 1}}\n</tool_call>'
SAID = f"<think>\nhm\n</think>\n\nWait.\n{CALLS}\n{CALLS}"


@pytest.fixture
def encoder(tiny_model: Callable[[str], Path]) -> Encoder:
    from transformers import AutoTokenizer

    return Encoder(load_template("qwen3"), AutoTokenizer.from_pretrained(tiny_model("llama")))


def read(encoder: Encoder, text: str, **changes: Any) -> tuple[Answer, list[dict[str, Any]]]:
    options = {"inside_thought": False, "tools": True, "one_call": False, "logprobs": False}
    answer = Answer(encoder, **{**options, **changes})
    cut = [text[place : place + 3] for place in range(0, len(text), 3)]
    pieces = [Piece((7,), part, "stop" if place == len(cut) - 1 else None) for place, part in enumerate(cut)]
    return answer, [answer.delta(piece)[0] for piece in pieces]


def test_thought_words_and_parallel_calls_are_streamed_apart(encoder: Encoder) -> None:
    answer, deltas = read(encoder, SAID)
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "hm"
    assert "".join(delta.get("content", "") for delta in deltas).strip() == "Wait."
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "look"), (1, "look")]
    assert json.loads(calls[1]["function"]["arguments"]) == {"at": 1}
    whole = answer.choice(0)
    assert (whole["finish_reason"], len(whole["message"]["tool_calls"])) == ("tool_calls", 2)
    assert {call["id"] for call in whole["message"]["tool_calls"]} == {call["id"] for call in calls}


def test_a_call_without_words_has_null_content(encoder: Encoder) -> None:
    assert read(encoder, CALLS)[0].choice(0)["message"]["content"] is None


def test_one_call_is_enough_where_parallel_ones_are_not_wanted(encoder: Encoder) -> None:
    answer, _ = read(encoder, SAID, one_call=True)
    assert len(answer.choice(0)["message"]["tool_calls"]) == 1


def test_where_no_tools_are_offered_a_call_is_text(encoder: Encoder) -> None:
    answer, _ = read(encoder, CALLS, tools=False)
    whole = answer.choice(0)
    assert (whole["finish_reason"], "tool_calls" in whole["message"]) == ("stop", False)
    assert '"look"' in whole["message"]["content"]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "look", "arguments": {"at": 1}',
        '<tool_call>\n{"name": "look", "arguments": {"at": }}\n</tool_call>',
        '<tool_call>\n{"name": 7, "arguments": []}\n</tool_call>',
        '<tool_call>\n"look"\n</tool_call> and </tool_call> and <tool_call>',
        f"{CALLS}{{'name': 'look'}}<tool_call>{CALLS}",
        '<tool_call>\n{"name": "look", "arguments": ' + "[" * 50_000 + "]" * 50_000 + "}\n</tool_call>",
        '<tool_call>\n{"name": "look", "arguments": {"a": "' + "\\u0000\\ud800" * 8_000 + '"}}\n</tool_call>',
        "<tool_call>" * 10_000,
        "</think>" * 10_000 + "<think>" * 10_000,
    ],
    ids=range(9),
)
def test_whatever_a_model_writes_is_words_or_calls_that_can_be_read(encoder: Encoder, text: str) -> None:
    began = time.process_time()
    answer, deltas = read(encoder, text)
    whole = answer.choice(0)
    assert time.process_time() - began < 5
    json.dumps([whole, deltas], ensure_ascii=False).encode()
    calls = whole["message"].get("tool_calls", [])
    assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)
    assert whole["finish_reason"] == ("tool_calls" if calls else "stop")
    assert "".join(delta.get("content", "") for delta in deltas) == (whole["message"]["content"] or "")
    told = sum(len(whole["message"].get(name) or "") for name in ("content", "reasoning_content"))
    assert told + sum(len(json.dumps(call)) for call in calls) > len(text) / 2
