"""Short ways to write conversations in tests, and strategies that make them up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from hone.dialogue.message import Conversation, Message, Part, Text, Thought, ToolCall, one_message
from hone.dialogue.render import render_turns
from hone.dialogue.slots import EOS, Inked, Mark, Piece
from hone.dialogue.template import Template

SPECIALS = [
    "<|im_end|>",
    "<|im_start|>",
    "</s>",
    "<think>",
    "</think>",
    "<tool_call>",
    "[INST]",
    "<|eot_id|>",
    "<|user|>",
]
TOOL = {
    "name": "add",
    "description": "Add two numbers",
    "parameters": {"type": "object", "properties": {"a": {"type": "number", "description": "one"}}, "required": ["a"]},
}


def user(text: str) -> Message:
    return Message("user", (Text(text),))


def answer(*parts: Part | str) -> Message:
    return Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def system(text: str) -> Message:
    return Message("system", (Text(text),))


def result(text: str) -> Message:
    return Message("tool", (Text(text),))


def results(*texts: str) -> Message:
    """What several calls gave, as one message."""
    return one_message([result(text) for text in texts])


def talk(*messages: Message, tools: tuple[dict[str, Any], ...] = ()) -> Conversation:
    return Conversation(messages, tools)


def words_of(made: Inked) -> str:
    """A piece's text; a token placed by id in braces."""
    return made.text if isinstance(made, Piece) else "{" + (made.role or made.token) + "}"


def text_of(pieces: list[Inked]) -> str:
    """The pieces as one text, with `<BOS>` and `<EOS>` for those tokens."""
    placed = {"bos": "<BOS>", EOS: "<EOS>"}
    return "".join(placed[made.role] if isinstance(made, Mark) and made.role else words_of(made) for made in pieces)


def written(template: Template, conversation: Conversation, **options: bool) -> list[tuple[str, str]]:
    """The text of each turn's source and target."""
    turns = render_turns(template, conversation, **options)
    return [("".join(map(words_of, turn.source)), "".join(map(words_of, turn.target))) for turn in turns]


def common(conversation: Conversation) -> list[dict[str, Any]]:
    """A conversation in the field's common form."""
    return [_common(replace(message, parts=parts)) for message in conversation.messages for parts in message.results]


def _common(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": message.text}
    for part in message.parts:
        if isinstance(part, Thought):
            made["reasoning_content"] = part.text
    if message.calls:
        made["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in message.calls
        ]
    return made


texts = st.lists(
    st.one_of(
        st.sampled_from([*SPECIALS, "\n", "\n\n", " ", "{text}", "{{content}}", "{", "Action:", "你好", "😀"]),
        st.text(max_size=8),
    ),
    max_size=8,
).map("".join)
plain_texts = st.text(alphabet="abcdef ghijk lm.,!?你好é\n", max_size=40)


@st.composite
def conversations(draw: st.DrawFn, words: st.SearchStrategy[str] = texts, thoughts: bool = True) -> Conversation:
    """Conversations of one to three turns, some with a system text and some with thoughts."""
    messages: list[Message] = [system(draw(words))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(user(draw(words)))
        lead: list[Part] = [Thought(draw(words))] if thoughts and draw(st.booleans()) else []
        messages.append(answer(*lead, draw(words)))
    return talk(*messages)


CALLS = [
    ToolCall("add", {"a": 1, "b": [True, None, {"c": "x y"}]}),
    ToolCall("find_it", {"q": "猫 dog"}),
    ToolCall("now", {}),
]
