"""Answers that must have a shape, as the official client asks for them: JSON by schema, calls that are demanded."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

NESTED: dict[str, Any] = {"type": "integer"}
for _ in range(90):
    NESTED = {"type": "array", "items": NESTED}
BOMBS: dict[str, Any] = {
    "quantifiers in quantifiers": {"type": "string", "pattern": "^(((a{1,1000}){1,1000}){1,1000}|(b+)+)$"},
    "a long way back": {"type": "string", "pattern": "(.*a){40}.{200}"},
    "a text without end": {"type": "string", "minLength": 10**9},
    "a list without end": {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
    "nested": NESTED,
    "a circle": {"$ref": "#"},
    "doubling": {
        "$defs": {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)} | {"d40": {}},
        "$ref": "#/$defs/d0",
    },
    "products": {"allOf": [{"anyOf": [{"properties": {f"k{i}_{j}": {}}} for j in range(4)]} for i in range(12)]},
    "many names": {"type": "object", "properties": {f"k{i}": {"type": "string"} for i in range(2000)}},
    "multiples": {"type": "integer", "multipleOf": 99991},
    "very long": {"enum": ["x" * 70_000]},
}
HELLO: Any = [{"role": "user", "content": "Is it?"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "minimum": 10, "maximum": 99}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}


def tool(name: str, schema: dict[str, Any] | None = None) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": schema or SCHEMA}}


def ask(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(**{"model": "tiny", "messages": HELLO, "max_tokens": 120, **options})


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_a_schema_is_followed_and_the_answer_ends_with_it(client: Any, temperature: float) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    choice = ask(client, response_format=form, temperature=temperature, seed=3, extra_body={"top_k": 0}).choices[0]
    found = json.loads(choice.message.content)
    assert choice.finish_reason == "stop"
    assert found["colour"] in ("red", "blue") and 10 <= found["count"] <= 99 and set(found) == {"colour", "count"}


def test_any_object_is_json_as_far_as_it_goes(client: Any) -> None:
    text = ask(client, response_format={"type": "json_object"}, temperature=0, max_tokens=8).choices[0].message.content
    assert text.startswith("{")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "paint"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_demanded_call_is_made(client: Any, choice: Any, stream: bool) -> None:
    tools = [tool("paint"), tool("draw")] if choice != "required" else [tool("paint")]
    answer = ask(client, tools=tools, tool_choice=choice, temperature=1, seed=1, stream=stream)
    if stream:
        chunks = [chunk.choices[0] for chunk in answer if chunk.choices]
        calls = [call for chunk in chunks for call in chunk.delta.tool_calls or []]
        finish = chunks[-1].finish_reason
    else:
        calls, finish = answer.choices[0].message.tool_calls, answer.choices[0].finish_reason
    assert finish == "tool_calls"
    assert [call.function.name for call in calls] == ["paint"]
    assert json.loads(calls[0].function.arguments)["colour"] in ("red", "blue")


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "no"}}}}, "response_format"),
        ({"response_format": {"type": "json_object"}, "tools": [tool("paint")]}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [tool("paint")], "tool_choice": {"type": "function", "function": {"name": "sing"}}},
            "tool_choice",
        ),
        ({"tools": [tool("paint", {"properties": {"a": {"not": {}}}})], "tool_choice": "required"}, "tool_choice"),
    ],
)
def test_a_shape_that_cannot_be_followed_is_refused_by_name(client: Any, options: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **options)
    assert refused.value.param == param


def test_others_in_the_batch_are_not_touched(client: Any) -> None:
    plain = {"temperature": 0, "max_tokens": 30}
    alone = ask(client, **plain).choices[0].message.content
    form = {"response_format": {"type": "json_object"}, **plain}
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda options: ask(client, **options), [plain, form, plain]))
    assert [found[place].choices[0].message.content for place in (0, 2)] == [alone, alone]


@pytest.mark.parametrize("name", BOMBS)
def test_schemas_made_to_harm_cost_little_and_are_followed_or_refused(client: Any, name: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": BOMBS[name]}}
    began = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        asked = threads.submit(ask, client, response_format=form, max_tokens=8, temperature=0)
        heard = 0
        while not asked.done():  # whoever else asks is answered meanwhile
            assert client.models.list().data[0].id == "tiny"
            heard += 1
        try:
            assert asked.result().choices[0].finish_reason == "length"
        except openai.BadRequestError as refused:
            assert refused.param == "response_format"
            assert "cannot be followed" in refused.message or "longer than" in refused.message
    assert time.monotonic() - began < 4


def test_a_stop_text_is_a_text_and_no_pattern(client: Any) -> None:
    usual = ask(client, temperature=0, max_tokens=8).choices[0].message.content
    stopped = ask(client, temperature=0, max_tokens=8, stop=["(.+)+$", ".*", "[", "\\"]).choices[0].message.content
    assert stopped == usual
