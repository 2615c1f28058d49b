"""How a chat template writes tools, calls and results: found out by probes, exact, or refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from hone.dialogue.derived import Calling, Derived
from hone.dialogue.message import Conversation, Message, Text, ToolCall, one_message
from hone.dialogue.render import Turn
from hone.dialogue.slots import Inked, Piece
from hone.dialogue.tools import dialect, dialect_names
from hone.errors import HoneError

TOOL = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "Dprobe1",
        "parameters": {
            "type": "object",
            "properties": {"x": {"type": "string", "description": "x"}},
            "required": ["x"],
        },
    },
}
CALL, MORE = ToolCall("probe_tool", {"x": "Vprobe1"}), ToolCall("probe_tool", {"x": "Vprobe2"})
_IDS = re.compile(r"""tool_call_id|\.id\b|\[['"]id['"]\]|\.name\b|\[['"]name['"]\]""")


def with_tools(made: Derived) -> Derived:
    """The template with what it can do with tools; why, where it writes no calls."""
    described = replace(made, describes="Dprobe1" in _asked(replace(made, describes=True)))
    for calling in _ways(made.source):
        trial = replace(described, calling=calling)
        if not _writes(trial, (CALL,)):
            continue
        reason = _refusal(trial)
        if reason:
            return replace(described, no_calls=reason)
        speaks = "Sprobe1" in _answer(trial, (Text("Sprobe1"), CALL))
        settled = replace(trial, calling=calling._replace(speaks=speaks))
        return replace(settled, calls=_read_by(settled))
    return described


def _ways(source: str) -> Iterator[Calling]:
    """Every way to hand a call over, the usual one first."""
    ids = _IDS.search(source) is not None
    for as_text, silent in product((False, True), ("", None)):
        yield Calling(as_text=as_text, silent=silent, ids=ids)


def _asked(template: Derived) -> str:
    """The prompt of a question with a tool on offer; empty where it is refused."""
    try:
        return _text(template.prompt(Conversation((_question(),), (TOOL,))))
    except HoneError:
        return ""


def _question() -> Message:
    return Message("user", (Text("Qprobe1"),))


def _turns(template: Derived, *messages: Message) -> list[Turn]:
    """The turns of a conversation that begins with the question; none where it is refused."""
    tools = (TOOL,) if template.describes else ()
    try:
        return template.turns(Conversation((_question(), *messages), tools))
    except HoneError:
        return []


def _answer(template: Derived, parts: tuple[Text | ToolCall, ...]) -> str:
    turns = _turns(template, Message("assistant", parts))
    return _text(turns[-1].target) if turns else ""


def _writes(template: Derived, calls: tuple[ToolCall, ...]) -> bool:
    """Whether each call is there once, as a value and not as the programming language shows it."""
    text = _answer(template, calls)
    return all(text.count(call.arguments["x"]) == 1 for call in calls) and "{'" not in text


def _refusal(template: Derived) -> str:
    """Why calls cannot be learned with this template, or an empty text if they can."""
    one, two = _answer(template, (CALL,)), _answer(template, (CALL, MORE))
    if not one.rstrip().endswith(template.stop):
        return "the chat template does not end an answer that calls a tool, so a model could not learn to stop"
    if two and not two.rstrip().endswith(template.stop):
        return "the chat template does not end an answer that calls two tools"
    results = one_message([Message("tool", (Text("Rprobe1"),)), Message("tool", (Text("Rprobe2"),))])
    for calls, result in (((CALL,), results.results[0]), ((CALL, MORE), results.parts)):
        if not _writes(template, calls):
            continue
        asked = (Message("assistant", calls), Message("tool", result))
        turns = _turns(template, *asked, Message("assistant", (Text("Aprobe1"),)))
        text = _text(turns[-1].source) if turns else ""
        if any(text.count(part.text) != 1 for part in result if isinstance(part, Text)):
            return "the chat template leaves out or repeats what a tool said"
        if not _text(turns[-1].target).rstrip().endswith(template.stop):
            return "the chat template does not end an answer that follows a tool's result"
    return ""


def _read_by(template: Derived) -> str:
    """The dialect that reads back what the template writes; the card's own where none does."""
    text = _answer(template, (CALL,)).rstrip().removesuffix(template.stop[0]).strip()
    for name in sorted(dialect_names(), key=lambda name: name != "qwen"):
        if [part for part in dialect(name).read(text) or () if isinstance(part, ToolCall)] == [CALL]:
            return name
    return template.calls


def _text(pieces: Sequence[Inked]) -> str:
    return "".join(made.text for made in pieces if isinstance(made, Piece))
