"""How model families describe tools and write calls: one file a dialect, and the folder is the registry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from hone.dialogue.message import Text, ToolCall
from hone.dialogue.slots import Run
from hone.errors import ModelError


class Dialect(Protocol):
    """What a file of this folder offers.

    `MARKS`: the words that calls begin with. `LEAD`: white space that is written before the first of them.
    """

    MARKS: tuple[str, ...]
    LEAD: str

    def describe(self, tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
        """The text that tells the model of its tools; it follows the system text."""

    def write(self, calls: Sequence[ToolCall]) -> tuple[Run, ...]:
        """Calls as the model would write them."""

    def read(self, text: str) -> list[Text | ToolCall] | None:
        """The calls in a model's text and the text before them, or None where it holds none that can be read."""

    def may_be_call(self, text: str) -> bool:
        """Whether a text still being written may be calls from its first letter on (and no mark tells it)."""


def dialect_names() -> tuple[str, ...]:
    """Every dialect, sorted: the files of this folder that do not begin with an underscore."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))


@cache
def dialect(name: str) -> Dialect:
    """The dialect of this name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name not in dialect_names():
        raise ModelError.one(
            "TEMPLATE-TOOLS",
            f"no tool dialect is called `{name}`",
            "tool_format",
            f"one of {', '.join(dialect_names())}",
        )
    return import_module(f"{__name__}.{name}")  # type: ignore[return-value]
