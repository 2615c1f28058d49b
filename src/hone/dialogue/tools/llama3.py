"""Llama 3: the date, the tools as indented JSON, calls as JSON with `parameters`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from hone.dialogue.message import ToolCall
from hone.dialogue.slots import Run, own, said
from hone.dialogue.tools._blocks import Found
from hone.dialogue.tools._json import calls_in, dump, load, wrapped
from hone.dialogue.tools.mistral import may_be_call as may_be_call

MARKS = ()
LEAD = ""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TEXT = (
    "Cutting Knowledge Date: December 2023\nToday Date: {date}\n\nYou have access to the following functions. To call "
    'a function, please respond with JSON for a function call. Respond in the format {"name": function name, '
    '"parameters": dictionary of argument name and its value}. Do not use variables.\n\n'
)


def today() -> datetime.date:
    """The date that the tool prompt names."""
    return datetime.date.today()


def date_of(day: datetime.date) -> str:
    """A day as the dialect writes it."""
    return f"{day.day:02d} {_MONTHS[day.month - 1]} {day.year}"


def describe(tools: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """The preface with today's date in English whatever the locale, then each schema."""
    listed = "".join(dump(wrapped(tool), indent=4) + "\n\n" for tool in tools)
    return own(_TEXT.replace("{date}", date_of(today()))), said(listed)


def write(calls: Sequence[ToolCall]) -> tuple[Run, ...]:
    """One object for one call, a list for several."""
    objects = [{"name": call.name, "parameters": call.arguments} for call in calls]
    return (said(dump(objects[0] if len(objects) == 1 else objects)),)


def read(text: str) -> Found | None:
    """The calls if the whole text is JSON of that form."""
    calls = calls_in(load(text.strip()), "parameters")
    return list(calls) if calls else None
