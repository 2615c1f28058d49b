"""The format of a row that nobody declared, recognised from its keys and the kinds of their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from hone.data import cells
from hone.data.book import USUAL_TAGS, Columns, Entry
from hone.data.formats import load_format
from hone.data.formats.openai import OWN_TAGS
from hone.data.row import RowFault
from hone.dialogue.records import Record

Shape = tuple[tuple[str, str], ...]
"""Each key of a row with the kind of its value: text, list, bool, dict, none or another; a list with what it holds."""

MESSAGES = ("messages", "conversations", "conversation")
QUESTIONS = ("instruction", "prompt", "question", "query")
ANSWERS = ("output", "response", "completion", "answer")
TAGS = ("label", "kto_tag")
MIXED_TAGS = replace(OWN_TAGS, role_tag="from", content_tag="value")
"""`from` and `value`, with OpenAI's names for the roles."""
LOOKED_FOR = (
    "`messages` or `conversations` (a list of {role, content} or {from, value}); `instruction` and `output`; `prompt` "
    "and `completion`; `chosen` and `rejected`; `text`"
)


def record(row: Mapping[str, Any], entry: Entry) -> Record:
    """The record of a row, whichever format it has. Raises RowFault where it has none that is known."""
    # Tables hold messages as a JSON text, or turned over: as the list that they are, they can be recognised.
    turned = {key: cells.messages(row, key) for key in MESSAGES if key in row and _is_turned(row[key])}
    row = {**row, **turned} if turned else row
    found = recognise(_shape(row), entry)
    return load_format(found.formatting)(row, found)


@lru_cache(maxsize=256)
def recognise(shape: Shape, entry: Entry) -> Entry:
    """The entry as it would have been declared for rows of this shape. Raises RowFault."""
    kinds = dict(shape)
    if {"chosen", "rejected"} <= kinds.keys():
        return _ranked(kinds, entry)
    messages = next((key for key in MESSAGES if kinds.get(key, "").startswith("list")), None)
    if messages is not None:
        return _conversations(messages, kinds, entry)
    if "completion" in kinds or kinds.get("prompt", "").startswith("list"):
        tag = next((key for key in TAGS if kinds.get(key) == "bool"), None)
        return _as("trl", entry, kinds, prompt="prompt", response="completion", kto_tag=tag)
    question = next((key for key in QUESTIONS if key in kinds), None)
    answer = next((key for key in ANSWERS if key in kinds), None)
    if question is not None and (answer is not None or question == "instruction"):
        query = "input" if "input" in kinds else None
        history = "history" if "history" in kinds else None
        tag = next((key for key in TAGS if kinds.get(key) == "bool"), None)
        return _as("alpaca", entry, kinds, prompt=question, query=query, response=answer, history=history, kto_tag=tag)
    if "text" in kinds:
        return replace(entry, formatting="alpaca", columns=Columns(prompt="text"))
    names = ", ".join(f"`{key}`" for key in kinds) or "no keys"
    raise RowFault(f"no known format: the row has {names}; looked for {LOOKED_FOR}", "DATA-FORMAT")


def _ranked(kinds: Mapping[str, str], entry: Entry) -> Entry:
    messages = next((key for key in MESSAGES if kinds.get(key, "").startswith("list")), None)
    if messages is not None and kinds["chosen"] == "dict":
        return replace(_conversations(messages, kinds, entry), ranking=True)
    question = next((key for key in QUESTIONS if key in kinds), None)
    query = "input" if "input" in kinds else None
    return replace(_as("trl", entry, kinds, prompt=question, query=query), ranking=True)


def _conversations(key: str, kinds: Mapping[str, str], entry: Entry) -> Entry:
    held = kinds[key].split(" ")[1:]
    tag = next((name for name in TAGS if kinds.get(name) == "bool"), None)
    pair = {"chosen": "chosen", "rejected": "rejected"} if "chosen" in kinds else {}
    if "role" in held:
        return replace(_as("openai", entry, kinds, messages=key, kto_tag=tag, **pair), tags=OWN_TAGS)
    if "from" in held:
        tags = MIXED_TAGS if "user" in held else USUAL_TAGS
        return replace(_as("sharegpt", entry, kinds, messages=key, kto_tag=tag, **pair), tags=tags)
    what = f"`{key}` holds no messages with `role` and `content`, or `from` and `value`"
    raise RowFault(what, "DATA-FORMAT")


def _as(formatting: str, entry: Entry, kinds: Mapping[str, str], **columns: str | None) -> Entry:
    """The entry in a format, with its usual columns for whatever else such a row may carry."""
    also = {key: key for key in ("system", "tools", "images", "videos", "audios") if key in kinds}
    return replace(entry, formatting=formatting, columns=Columns(**{**also, **columns}))


def _is_turned(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, str) and value.lstrip().startswith("["))


def _shape(row: Mapping[str, Any]) -> Shape:
    return tuple([(key, "text" if type(value) is str else _kind(value)) for key, value in row.items()])


def _kind(value: Any) -> str:
    if isinstance(value, list):
        # The first message tells the names of role and content; a first system message does not tell the roles.
        first = next((item for item in value if isinstance(item, dict)), {})
        names = [name for name in ("role", "from") if name in first]
        roles = {item.get("from") for item in value if isinstance(item, dict) and isinstance(item.get("from"), str)}
        return " ".join(["list", *names, *(["user"] if "user" in roles else [])])
    if value is None:
        return "none"
    return "text" if isinstance(value, str) else type(value).__name__
