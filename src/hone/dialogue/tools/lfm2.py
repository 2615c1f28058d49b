"""LFM2: calls written like Python, `[name(key="value")]`, between the family's tokens."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import Text, ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found
from hone.dialogue.tools._json import arguments_of, dump, function

MARKS = ("<|tool_call_start|>",)
LEAD = ""

_LONGEST = 100_000
"""Characters of a call that are given to Python's parser; a longer one stays text."""


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """All bare schemas as one JSON list."""
    listed = dump([function(tool) if "function" in tool else tool for tool in tools])
    return own("List of tools: <|tool_list_start|>"), said(listed), own("<|tool_list_end|>")


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """All calls in one list."""
    listed = ", ".join(f"{call.name}({_arguments(call)})" for call in calls)
    return own("<|tool_call_start|>"), said(f"[{listed}]"), own("<|tool_call_end|>")


def _arguments(call: ToolCall) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in arguments_of(call, "lfm2").items())


def _value(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else dump(value)  # as the family writes it: quotes are not escaped


def read(text: str) -> Found | None:
    """The calls of the first block; values are literals only, nothing is run."""
    before, start, rest = text.partition("<|tool_call_start|>")
    inside, end, after = rest.partition("<|tool_call_end|>")
    if not start or not end or len(inside) > _LONGEST:
        return None
    try:
        tree = ast.parse(inside.strip(), mode="eval").body
        calls = [_call(node) for node in (tree.elts if isinstance(tree, ast.List) else [tree])]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not calls:
        return None
    return [*([Text(before)] if before else []), *calls, *([Text(after)] if after.strip() else [])]


def _call(node: ast.expr) -> ToolCall:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        raise ValueError("not a call with named arguments")
    if any(word.arg is None for word in node.keywords):
        raise ValueError("an argument without a name")
    return ToolCall(node.func.id, {str(word.arg): _literal(word.value) for word in node.keywords})


def _literal(node: ast.expr) -> Any:
    """A Python literal, with JSON's true, false and null."""
    words = {"true": True, "false": False, "null": None}
    if isinstance(node, ast.Name) and node.id in words:
        return words[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {
            ast.literal_eval(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True) if key
        }
    return ast.literal_eval(node)


def may_be_call(text: str) -> bool:
    """Never: a mark begins the calls."""
    return False
