"""Gemma 4: schemas and calls in its own notation, strings between <|"|> tokens, keys sorted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found, around
from hone.dialogue.tools._gemma4_reader import read_calls
from hone.dialogue.tools._json import dump, function, named

MARKS = ("<|tool_call>",)
LEAD = ""
QUOTE = own('<|"|>')


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """One declaration a line."""
    return _between("\n", [_declaration(function(tool)) for tool in tools])


def _declaration(schema: Mapping[str, Any]) -> tuple[Run, ...]:
    name = (own("declaration:"), said(str(named(schema, "name"))), own("{"))
    described = (own("description:"), *_string(str(schema.get("description", ""))))
    parameters = schema.get("parameters")
    if not parameters:
        return (*name, *described, own("}"))
    return (*name, *described, own(",parameters:{"), *_parameters(parameters), own("}}"))


def _parameters(parameters: Mapping[str, Any]) -> tuple[Run, ...]:
    fields: list[tuple[Run, ...]] = []
    if parameters.get("properties"):
        listed = [(said(name), own(":"), *_field(field)) for name, field in parameters["properties"].items()]
        fields.append((own("properties:{"), *_between(",", listed), own("}")))
    if parameters.get("required"):
        listed = [_string(str(name)) for name in parameters["required"]]
        fields.append((own("required:["), *_between(",", listed), own("]")))
    if parameters.get("type"):
        fields.append((own("type:"), *_string(str(parameters["type"]).upper())))
    return _between(",", fields)


def _field(field: Mapping[str, Any]) -> tuple[Run, ...]:
    described = [(own("description:"), *_string(str(field["description"])))] if field.get("description") else []
    typed = [(own("type:"), *_string(str(field["type"]).upper()))] if field.get("type") else []
    return (own("{"), *_between(",", [*described, *typed]), own("}"))


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """One block for each call."""
    runs: list[Run] = []
    for call in calls:
        runs += [own("<|tool_call>"), said(f"call:{call.name}{{"), *_bare(call.arguments), own("}<tool_call|>")]
    return tuple(runs)


def _bare(arguments: Any) -> tuple[Run, ...]:
    """Arguments without the braces around an object."""
    if isinstance(arguments, Mapping):
        return _between(",", [(said(f"{key}:"), *_value(arguments[key])) for key in sorted(arguments)])
    return (said(arguments),) if isinstance(arguments, str) else _value(arguments)


def _value(value: Any) -> tuple[Run, ...]:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return (own("{"), *_bare(value), own("}"))
    if isinstance(value, list):
        return (own("["), *_between(",", [_value(item) for item in value]), own("]"))
    return (said(dump(value)),)


def _string(text: str) -> tuple[Run, ...]:
    return (QUOTE, said(text), QUOTE)


def _between(mark: str, groups: Iterable[tuple[Run, ...]]) -> tuple[Run, ...]:
    """The groups with a mark between them."""
    runs: list[Run] = []
    for group in groups:
        runs += [own(mark), *group] if runs else group
    return tuple(runs)


def read(text: str) -> Found | None:
    """Every whole call; None if any cannot be read."""
    return around(text, read_calls(text) or [])


def may_be_call(text: str) -> bool:
    """Never: a mark begins the calls."""
    return False
