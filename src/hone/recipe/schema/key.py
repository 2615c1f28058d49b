"""What is known about one key of the recipe: kinds of value, default, limits and help, read off a section's field."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Literal

Kind = Literal["str", "int", "float", "bool", "list", "numbers", "dict", "null"]


@dataclass(frozen=True)
class Limits:
    """The range of a number. `at_least` and `at_most` belong to it, `above` and `below` do not."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def allow(self, number: float) -> bool:
        """Whether the number lies inside; NaN never does."""
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
            and number == number
        )

    def __str__(self) -> str:
        signs = ((">=", self.at_least), (">", self.above), ("<=", self.at_most), ("<", self.below))
        return " and ".join(f"{sign} {bound:g}" for sign, bound in signs if bound is not None)


@dataclass(frozen=True)
class About:
    """What a section says of one of its keys, beside the type and the default.

    `later` says why the key may not yet differ from its default; `later_values` says so of single values.
    """

    help: str
    choices: tuple[str, ...] = ()
    limits: Limits | None = None
    secret: bool = False
    later: str = ""
    later_values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """One key of the recipe, whether Hone's own or one of `TrainingArguments`."""

    name: str
    section: str
    kinds: tuple[Kind, ...]
    default: Any
    about: About
    inherited: bool = False
    """Whether only transformers reads it."""

    @property
    def nullable(self) -> bool:
        """Whether `null` is a value of this key."""
        return "null" in self.kinds

    @property
    def type_name(self) -> str:
        """The type as a reader wants it: `int`, `list, optional`, or the choices."""
        names = {"list": "list", "numbers": "list of numbers", "dict": "mapping"}
        said = " or ".join(names.get(kind, kind) for kind in self.kinds if kind != "null")
        return f"{said}, optional" if self.nullable else said


def key(
    default: Any,
    text: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    secret: bool = False,
    later: str = "",
    later_values: Mapping[str, str] | None = None,
) -> Any:
    """A field of a section: its default and what is known about it. Choices come from a `Literal` annotation."""
    bounds = (at_least, above, at_most, below)
    limits = Limits(*bounds) if any(bound is not None for bound in bounds) else None
    about = About(text, limits=limits, secret=secret, later=later, later_values=later_values or {})
    return field(default=default, metadata={"about": about})


def keys_of(section: str, cls: type) -> Iterator[Key]:
    """The keys of a section class, in order; fields made without `key` are no keys."""
    hints = _hints(cls)
    for each in fields(cls):
        about: About | None = each.metadata.get("about")
        if about is None:
            continue
        kinds, choices = _kinds(hints[each.name])
        told = About(about.help, choices, about.limits, about.secret, about.later, about.later_values)
        yield Key(each.name, section, kinds, None if each.default is MISSING else each.default, told)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _kinds(hint: Any) -> tuple[tuple[Kind, ...], tuple[str, ...]]:
    """The kinds of value that an annotation allows, and the choices of a `Literal` in it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        parts = [_kinds(part) for part in arguments]
        kinds = tuple(kind for part in parts for kind in part[0])
        return kinds, tuple(choice for part in parts for choice in part[1])
    if origin is Literal:
        return ("str",), tuple(arguments)
    if origin is tuple:
        return (("numbers",) if arguments[0] is float else ("list",)), ()
    if origin is Mapping or origin is typing.get_origin(Mapping[str, Any]):
        return ("dict",), ()
    simple: dict[Any, Kind] = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}
    return (simple[hint],), ()
