"""What an answer must look like: `response_format` and a demanded tool call, as a grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import ToolCall
from hone.dialogue.tools import dialect
from hone.engines.grammar import grammar_of_calls, grammar_of_schema
from hone.server.fields import Body
from hone.server.refusal import RefusedError

SAMPLE = {"K": 1}
"""Arguments whose place in a written call is looked for."""


def read_format(body: Body, tools: Sequence[Any]) -> str | None:
    """The grammar of `response_format`, None for plain text. Raises RefusedError."""
    given = body.get("response_format")
    kind = given.get("type") if isinstance(given, dict) else None
    if given is None or given == {"type": "text"}:
        return None
    if kind == "json_object":
        schema: Any = {"type": "object"}
    elif kind == "json_schema":
        named = given.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
    else:
        raise RefusedError("`response_format` is text, json_object or json_schema", "response_format")
    if not isinstance(schema, dict):
        raise RefusedError("`response_format.json_schema.schema` must be an object", "response_format")
    if tools:
        raise RefusedError("JSON by `response_format` goes without tools", "response_format")
    return grammar_of_schema(schema)


def read_choice(body: Body, tools: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], bool]:
    """The tools on offer, and whether one must be called. Raises RefusedError."""
    choice = body.get("tool_choice")
    if choice == "none":
        return [], False
    if choice is None or (choice == "auto" and tools):
        return list(tools), False
    if choice == "required" and tools:
        return list(tools), True
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    named = [tool for tool in tools if tool["function"]["name"] == name]
    if not named:
        raise RefusedError("`tool_choice` is auto, none, required or one of the `tools` by name", "tool_choice")
    return named, True


def calls_grammar(template: Any, tools: Sequence[Mapping[str, Any]]) -> str:
    """The grammar of one call of these tools as the model's family writes it. Raises RefusedError."""
    return grammar_of_calls([_shape(template, tool["function"]) for tool in tools])


def _shape(template: Any, function: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], str]:
    written = "".join(run.text for run in dialect(template.calls).write([ToolCall(function["name"], SAMPLE)]))
    before, found, after = written.rpartition(json.dumps(SAMPLE))
    if not found:
        what = "this model's family does not write arguments as JSON, so a call cannot be demanded"
        raise RefusedError(what, "tool_choice", code="unsupported_value")
    return before.lstrip("\n"), {"type": "object", **(function.get("parameters") or {})}, after
