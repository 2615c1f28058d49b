"""A card against a tokenizer's own chat template: the same conversations, token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from hone.dialogue.encoder import Encoder
from hone.dialogue.fix_tokenizer import fix_tokenizer
from hone.dialogue.message import Conversation, Message, NextResult, Part, Text, Thought, ToolCall
from hone.dialogue.template import Template
from hone.errors import HoneError, ModelError

AROUND = 6
"""Tokens shown from a difference on."""

ADD: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "number", "description": "one"},
                "b": {"type": "number", "description": "two"},
            },
            "required": ["a", "b"],
        },
    },
}
TYPED = "control words typed"
SUM, MORE = ToolCall("add", {"a": 1, "b": 2}, "abcdefgh1"), ToolCall("add", {"a": 3, "b": 4}, "abcdefgh2")


def _talk(
    *said: str | Part | tuple[Part, ...], system: str = "", tools: bool = False, results: Sequence[int] = ()
) -> Conversation:
    """Asked and answered in turn; the messages numbered in `results` are what a tool said."""
    messages = [Message("system", (Text(system),))] if system else []
    for place, one in enumerate(said):
        parts = (Text(one),) if isinstance(one, str) else one if isinstance(one, tuple) else (one,)
        role = "assistant" if place % 2 else "tool" if place in results else "user"
        messages.append(Message(role, parts))  # type: ignore[arg-type]
    return Conversation(tuple(messages), (ADD,) if tools else ())


MATRIX: Mapping[str, Conversation] = {
    "one turn": _talk("Hi", "Hello."),
    "two turns": _talk("Hi", "Hello.", "More", "Bye."),
    "three turns": _talk("a", "b", "c", "d", "e\n\nf", "g"),
    "system": _talk("Hi", "Hello.", system="Be brief."),
    "Chinese": _talk("你好，世界", "你好！", "再见", "再见。", system="简短回答。"),
    "empty": _talk("", ""),
    "white space": _talk("  a \n", "  b \n"),
    TYPED: _talk("<|im_end|><|eot_id|></s><end_of_turn><｜end▁of▁sentence｜>", "ok"),
    "thought": _talk("q", (Thought("hm"), Text("a"))),
    "thought before": _talk("q", (Thought("hm"), Text("a")), "r", (Thought("so"), Text("b"))),
    "tools": _talk("q", "a", tools=True),
    "tools and system": _talk("q", "a", system="Be brief.", tools=True),
    "call": _talk("q", SUM, tools=True),
    "call answered": _talk("q", SUM, "3", "three", tools=True, results=(2,)),
    "parallel calls": _talk("q", (SUM, MORE), tools=True),
    "parallel results": _talk("q", (SUM, MORE), (Text("3"), NextResult(), Text("7")), "ten", tools=True, results=(2,)),
}


@dataclass(frozen=True)
class Found:
    """One conversation in one form (`prompt` or `whole`): equal, or what differs first and from which token on.

    `spelled`: the text is the same, and only the control words that a user typed are other tokens, as they should be.
    """

    conversation: str
    form: str
    thinking: str
    equal: bool
    spelled: bool = False
    place: int | None = None
    ours: str = ""
    theirs: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(template: Template, tokenizer: Any) -> list[Found]:
    """Every conversation of the matrix as a prompt and as a whole; families that think with it on and off.

    The tokenizer is fixed up for the template in the end. Raises `ModelError` if it has no chat template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError.one("TEMPLATE-COMPARE", "the tokenizer has no chat template to compare with", "--tokenizer")
    ways: dict[str, dict[str, Any]] = {"": {}}
    if template.thinking is not None:
        ways = {"on": {"enable_thinking": True}, "off": {"enable_thinking": False}}
    cases = [(name, form, way) for name in MATRIX for form in ("prompt", "whole") for way in ways]
    theirs = [_theirs(tokenizer, MATRIX[name], form, ways[way]) for name, form, way in cases]
    fix_tokenizer(tokenizer, template)
    encoders = {way: Encoder(template.with_options(**options), tokenizer) for way, options in ways.items()}
    return [
        _judged(tokenizer, case, _ours(encoders[case[2]], MATRIX[case[0]], case[1]), other)
        for case, other in zip(cases, theirs, strict=True)
    ]


def _ours(encoder: Encoder, conversation: Conversation, form: str) -> list[int] | str:
    """Token ids, or why there are none."""
    try:
        if form == "prompt":
            return encoder.prompt(Conversation(conversation.messages[:-1], conversation.tools))
        source, target = encoder.answer(conversation)
        return [*source, *target]
    except HoneError as error:
        return f"refused: {error.faults[0].what}"


def _theirs(tokenizer: Any, conversation: Conversation, form: str, options: Mapping[str, Any]) -> list[int] | str:
    """Token ids, or why there are none."""
    asks = form == "prompt"
    said = conversation.messages[:-1] if asks else conversation.messages
    messages = [_common(replace(message, parts=parts)) for message in said for parts in message.results]
    tools = [dict(tool) for tool in conversation.tools] or None
    try:
        text = tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=asks, **options
        )
    except Exception as error:  # whatever a stranger's template raises is its answer
        return f"refused: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
    return list(tokenizer.encode(text, add_special_tokens=False))


def _common(message: Message) -> dict[str, Any]:
    """A message in the field's common form."""
    made: dict[str, Any] = {"role": message.role, "content": message.text}
    thoughts = [part.text for part in message.parts if isinstance(part, Thought)]
    if thoughts:
        made["reasoning_content"] = thoughts[0]
    if message.calls:
        calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
        made["tool_calls"] = [
            {"type": "function", "id": of.id, "function": call} for of, call in zip(message.calls, calls, strict=True)
        ]
    return made


def _judged(tokenizer: Any, case: tuple[str, str, str], ours: list[int] | str, theirs: list[int] | str) -> Found:
    name, form, way = case
    if ours == theirs or (isinstance(ours, str) and isinstance(theirs, str)):
        return Found(name, form, way, True)
    if isinstance(ours, str) or isinstance(theirs, str):
        said = [one if isinstance(one, str) else "written" for one in (ours, theirs)]
        return Found(name, form, way, False, False, None, *said)
    pairs = zip(ours, theirs, strict=False)
    place = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
    shown = [tokenizer.decode(one[place : place + AROUND]) or "(the end)" for one in (ours, theirs)]
    spelled = name == TYPED and tokenizer.decode(ours) == tokenizer.decode(theirs)
    return Found(name, form, way, False, spelled, place, *shown)


def as_table(found: Sequence[Found]) -> str:
    """One line a conversation and form, then the first difference of each that differs."""
    width = max(len(_label(one)) for one in found)
    lines = [f"{_label(one):<{width}}  {_verdict(one)}" for one in found]
    apart = [one for one in found if not one.equal and not one.spelled]
    lines += ["", f"{len(found) - len(apart)} of {len(found)} equal"]
    for one in apart:
        where = "" if one.place is None else f" from token {one.place}"
        lines += [f"{_label(one)}{where}", f"  card      {one.ours!r}", f"  tokenizer {one.theirs!r}"]
    return "\n".join(lines)


def _verdict(one: Found) -> str:
    return "equal" if one.equal else "same text, typed control words stay text" if one.spelled else "differs"


def _label(one: Found) -> str:
    return f"{one.conversation}, {one.form}" + (f", thinking {one.thinking}" if one.thinking else "")
