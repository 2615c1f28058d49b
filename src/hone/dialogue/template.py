"""A template: how a model family writes a conversation down. One TOML card each, children state only the difference."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from hone.dialogue.slots import Slot, read_slot
from hone.errors import Fault, ModelError

CARDS = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Words:
    """The words around thoughts and tool calls, and between the results of calls in one message."""

    thought: tuple[str, str] = ("<think>\n", "\n</think>\n\n")
    call: tuple[str, str] = ("<tool_call>", "</tool_call>")
    results: str = "\n</tool_response>\n<tool_response>\n"

    @cached_property
    def opening(self) -> str:
        """What a thought begins with, whatever white space is around it."""
        return self.thought[0].strip()


GENERIC = Words()
"""The words that data sets use whatever the model family."""


@dataclass(frozen=True)
class Thinking:
    """How a reasoning family treats thoughts. `empty` is written where an answer has none."""

    empty: str
    enable: bool | None = True
    preserve: bool = False


@dataclass(frozen=True)
class Media:
    """The card's tokens for pictures, videos and sounds, and the processor family that expands them."""

    family: str = "base"
    tokens: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Template:
    """A settled card. `thinking` is None for families that do not reason; `tools` and `calls` name tool dialects."""

    name: str
    prefix: Slot = ()
    system: Slot = ()
    user: Slot = ()
    assistant: Slot = ()
    call: Slot = ()
    result: Slot = ()
    tools: str | None = "default"
    calls: str = "default"
    trim_tools: bool = False
    default_system: str = ""
    stop: tuple[str, ...] = ()
    words: Words = GENERIC
    thinking: Thinking | None = None
    system_in_user: bool = False
    efficient_eos: bool = False
    replace_eos: bool = False
    replace_jinja: bool = False
    document_end: str = ""
    media: Media = field(default_factory=Media)

    def with_options(
        self,
        *,
        enable_thinking: bool | Literal["card"] | None = "card",
        preserve_thinking: bool | None = None,
        default_system: str | None = None,
        tool_format: str | None = None,
    ) -> Template:
        """The same card with a user's choices. `"card"`, and None for the others, keep what the card says."""
        changes: dict[str, Any] = {}
        if self.thinking is not None:
            enable = self.thinking.enable if enable_thinking == "card" else enable_thinking
            preserve = self.thinking.preserve if preserve_thinking is None else preserve_thinking
            changes["thinking"] = replace(self.thinking, enable=enable, preserve=preserve)
        if default_system is not None:
            changes["default_system"] = default_system
        if tool_format is not None:
            changes.update(tools=tool_format, calls=tool_format)
        return replace(self, **changes)

    def fingerprint(self) -> str:
        """A hash of everything the card and its options say."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:16]


@cache
def template_names() -> tuple[str, ...]:
    """Every card's name, sorted."""
    return tuple(sorted(path.stem for path in CARDS.glob("*.toml")))


@cache
def load_template(name: str) -> Template:
    """The card of this name. Raises `ModelError` with a did-you-mean if there is none."""
    if name not in template_names():
        near = get_close_matches(name, template_names(), n=1)
        fix = f"did you mean {near[0]}?" if near else "`hone template list` names them all"
        raise ModelError.one("TEMPLATE-UNKNOWN", f"no template is called `{name}`", "template", fix)
    return read_card(name, _merged(name, ()))


def _merged(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """The card's table over those that it extends."""
    if name in seen:
        raise ModelError.one("TEMPLATE-CARD", f"cards extend each other: {' → '.join((*seen, name))}", name)
    with (CARDS / f"{name}.toml").open("rb") as file:
        table = tomllib.load(file)
    parent = table.pop("extends", None)
    return {**(_merged(parent, (*seen, name)) if parent else {}), **table}


USUAL = {"prefix": [], "system": "{text}", "user": "{text}"}
FLAGS = ("trim_tools", "system_in_user", "efficient_eos", "replace_eos", "replace_jinja")
TEXTS = ("default_system", "document_end")
KNOWN = {
    *USUAL,
    *FLAGS,
    *TEXTS,
    *["assistant", "call", "result", "tools", "calls", "stop", "thinking", "call_words", "next_result", "media"],
}


def read_card(name: str, table: Mapping[str, Any]) -> Template:
    """A template from a card's table; what is left out is as docs/templates.md says. Raises `ModelError`."""
    unknown = [Fault("TEMPLATE-CARD", f"no such key: `{key}`", name) for key in table if key not in KNOWN]
    ModelError.all_of(unknown)
    tools = table.get("tools", "default") or None
    words, thinking = _words(table)
    media = dict(table.get("media", {}))
    return Template(
        name=name,
        **_slots(name, table),  # type: ignore[arg-type]
        tools=tools,
        calls=table.get("calls", tools or "default"),
        stop=tuple(table.get("stop", ())),
        words=words,
        thinking=thinking,
        media=Media(media.pop("family", "base"), tuple(sorted(media.items()))),
        **{key: table[key] for key in (*FLAGS, *TEXTS) if key in table},
    )


def _slots(name: str, table: Mapping[str, Any]) -> dict[str, Slot]:
    """The six slots: calls are written like answers, and results like questions, unless the card says otherwise."""
    usual = USUAL | {"assistant": "{text}" if table.get("efficient_eos") else ["{text}", {"special": "eos"}]}
    given = {key: table.get(key, value) for key, value in usual.items()}
    given |= {"call": table.get("call", given["assistant"]), "result": table.get("result", given["user"])}
    return {key: read_slot(value, where=f"{name}.{key}") for key, value in given.items()}


def _words(table: Mapping[str, Any]) -> tuple[Words, Thinking | None]:
    """The words around thoughts and calls, and how the family thinks, if it does."""
    reasons = table.get("thinking", False)
    said = reasons if isinstance(reasons, dict) else {}
    start, end = said.get("open", GENERIC.thought[0]), said.get("close", GENERIC.thought[1])
    calls = table.get("call_words", {})
    around_calls = (calls.get("open", GENERIC.call[0]), calls.get("close", GENERIC.call[1]))
    words = Words((start, end), around_calls, table.get("next_result", GENERIC.results))
    empty = end if said.get("empty") == "close" else start + end
    return words, None if reasons is False else Thinking(empty)
