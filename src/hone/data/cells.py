"""Reading the cells of a row: texts, tools and media of the kind that is expected, or a fault that names the key."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hone.data.book import Entry
from hone.data.row import RowFault
from hone.dialogue.message import Media, Message, Part, Text

KINDS = ("image", "video", "audio")
_PLACEHOLDER = re.compile(r"<(image|video|audio)>")


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object", str: "text"}
    return "missing" if value is None else names.get(type(value), type(value).__name__)


def require_object(row: Any) -> Mapping[str, Any]:
    """The row itself, if it is an object."""
    if not isinstance(row, dict):
        raise RowFault(f"the row is {kind_of(row)}, not an object")
    return row


def text(row: Mapping[str, Any], key: str | None) -> str:
    """The text under `key`; nothing where there is no such key or its value is missing."""
    value = row.get(key) if key is not None else None
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowFault(f"`{key}` is {kind_of(value)}, not text")
    return value


def messages(row: Mapping[str, Any], key: str) -> list[Any]:
    """The list under `key`; tables may hold it as a JSON text, or turned over, as an object of lists."""
    value = row[key]
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowFault(f"`{key}` is not valid JSON") from None
    if isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        lengths = {len(column) for column in value.values()}
        if len(lengths) == 1:
            value = [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    if not isinstance(value, list):
        raise RowFault(f"`{key}` is {kind_of(value)}, not a list of messages")
    return value


def absent(row: Mapping[str, Any], key: str) -> RowFault:
    """The fault of a row without `key`, naming what it has instead."""
    near = difflib.get_close_matches(key, [str(name) for name in row], n=1)
    hint = f"did you mean `{near[0]}`" if near else "it has " + (", ".join(f"`{name}`" for name in row) or "no keys")
    return RowFault(f"no key `{key}` ({hint}; see `columns` in dataset_info.json)")


def tools(row: Mapping[str, Any], key: str | None) -> tuple[Mapping[str, Any], ...]:
    """The tools under `key`: a JSON text, a list of schemas, or one schema."""
    value = row.get(key) if key is not None else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowFault(f"`{key}` is not valid JSON") from None
    schemas = [value] if isinstance(value, dict) else value
    if not isinstance(schemas, list) or not all(isinstance(schema, dict) for schema in schemas):
        raise RowFault(f"`{key}` is not a list of tool descriptions")
    return tuple(schemas)


def media(row: Mapping[str, Any], entry: Entry) -> dict[str, list[Media]]:
    """The images, videos and audios of a row, by kind."""
    columns = entry.columns
    if columns.images is None and columns.videos is None and columns.audios is None:
        return {}
    return {kind: _media(row, getattr(columns, f"{kind}s"), kind) for kind in KINDS}


def _media(row: Mapping[str, Any], key: str | None, kind: str) -> list[Media]:
    value = row.get(key) if key is not None else None
    if value is None:
        return []
    found = [_source(item) for item in (value if isinstance(value, list) else [value])]
    if not all(isinstance(source, str | bytes) for source in found):
        raise RowFault(f"`{key}` is not a list of paths or URLs")
    return [Media(kind, source) for source in found]  # type: ignore[arg-type]


def _source(item: Any) -> Any:
    """A path or URL; or the bytes themselves, as the hub's sets hold them: `{"bytes": …, "path": …}`."""
    if isinstance(item, dict) and ("bytes" in item or "path" in item):
        return item.get("bytes") or item.get("path")
    return item


def place_media(messages: list[Message], found: Mapping[str, list[Media]]) -> list[Message]:
    """Put each medium where its placeholder stands. Where a row has none of a kind, its placeholders are text."""
    if not any(found.values()):
        return messages
    for kind, items in found.items():
        holes = sum(message.text.count(f"<{kind}>") for message in messages)
        if items and holes != len(items):
            raise RowFault(f"{holes} `<{kind}>` in the messages, but {len(items)} {kind}s in the row")
    waiting = {kind: iter(items) for kind, items in found.items() if items}
    return [_placed(message, waiting) for message in messages]


def _placed(message: Message, waiting: Mapping[str, Iterator[Media]]) -> Message:
    parts: list[Part] = []
    for part in message.parts:
        parts.extend(_split(part.text, waiting) if isinstance(part, Text) else [part])
    return Message(message.role, tuple(parts), message.learn)


def _split(words: str, waiting: Mapping[str, Iterator[Media]]) -> list[Part]:
    parts: list[Part] = []
    start = 0
    for match in _PLACEHOLDER.finditer(words):
        medium = next(waiting.get(match[1], iter(())), None)
        if medium is None:
            continue
        if match.start() > start:
            parts.append(Text(words[start : match.start()]))
        parts.append(medium)
        start = match.end()
    if start < len(words) or not parts:
        parts.append(Text(words[start:]))
    return parts
