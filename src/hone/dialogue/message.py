"""A conversation as one value: messages made of typed parts, and the tools on offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Text:
    """Words said."""

    text: str


@dataclass(frozen=True)
class Thought:
    """Reasoning that comes before an answer, without the family's thought words around it.

    `words` are those that the data itself used where they differ from the family's in white space; None, as a rule.
    """

    text: str
    words: tuple[str, str] | None = None


@dataclass(frozen=True)
class Media:
    """An image, a video or an audio: a path or URL, or the bytes themselves."""

    kind: Literal["image", "video", "audio"]
    source: str | bytes


@dataclass(frozen=True)
class Shown:
    """A medium as a model's family writes it: each token that stands for the medium itself once in `text`, and in
    `times` how often each of these is to stand, in order. `after`: tokens that must follow the last of them."""

    medium: Media
    text: str
    times: tuple[int, ...]
    after: int = 0


@dataclass(frozen=True)
class ToolCall:
    """The model asks for a function. `arguments` is the decoded JSON value (an object, as a rule)."""

    name: str
    arguments: Any
    id: str = ""


@dataclass(frozen=True)
class NextResult:
    """The border between two results in one tool message: what stands there is the family's own words."""


Part = Text | Thought | Media | Shown | ToolCall | NextResult


@dataclass(frozen=True)
class Message:
    """What one side said. `learn` overrules the recipe's mask: learn it, do not, or (None) follow the recipe."""

    role: Role
    parts: tuple[Part, ...]
    learn: bool | None = None

    @property
    def text(self) -> str:
        """All `Text` parts joined; thoughts, media and calls left out."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def results(self) -> tuple[tuple[Part, ...], ...]:
        """A tool message's parts, result by result; one group for any other message."""
        groups: list[list[Part]] = [[]]
        for part in self.parts:
            if isinstance(part, NextResult):
                groups.append([])
            else:
                groups[-1].append(part)
        return tuple(map(tuple, groups))


def one_message(results: Sequence[Message]) -> Message:
    """The results of parallel calls, each a tool message, as the one message that answers the calls."""
    parts: list[Part] = []
    for place, message in enumerate(results):
        parts += [NextResult(), *message.parts] if place else message.parts
    return Message("tool", tuple(parts))


@dataclass(frozen=True)
class Conversation:
    """Messages in order, and the JSON schemas of the tools that may be called (`{"name", "description", "parameters"}`,
    bare or wrapped as `{"type": "function", "function": …}`, kept as given)."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def system(self) -> str | None:
        """The text of a leading system message, if there is one."""
        if self.messages and self.messages[0].role == "system":
            return self.messages[0].text
        return None
