"""Reading one field of a request body: the right type, in its range, or refused by name."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hone.server.refusal import RefusedError

Body = Mapping[str, Any]
MOST_TEXTS = 256
"""Texts that are measured for one request."""
MOST_VALUES = 2**19
"""Lists, objects, and what they hold, in one body: in what is not text Python hears nobody else while it reads."""


def read_json(raw: bytes) -> Body:
    """The object that a body holds. Refuses what is no JSON, numbers that are none, halves of characters, a name that
    is given twice, and more values than can be read in passing."""
    if sum(map(raw.count, (b"[", b"{", b",", b":"))) > MOST_VALUES:
        raise RefusedError(f"the body holds more than {MOST_VALUES} values")
    try:
        text = raw.decode("utf-8-sig")
        found = json.loads(text, parse_constant=_no_number, parse_float=_fraction, object_pairs_hook=_once)
        if "\\u" in text:  # the only way to half a character
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
        raise RefusedError("the body is not valid JSON in UTF-8") from error
    if not isinstance(found, dict):
        raise RefusedError("the body is not a JSON object")
    return found


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        name = Counter(name for name, _ in members).most_common(1)[0][0][:80]
        raise RefusedError(f"the body gives {json.dumps(name)} twice in one object", name)
    return found


def _fraction(text: str) -> float:
    """As the usual reading; but being a function of Python's it lets other threads run between two numbers."""
    return float(text)


def _no_number(name: str) -> None:
    raise ValueError(name)


def number(body: Body, name: str, least: float, most: float, default: float) -> float:
    """A finite number within [least, most]; null is the default."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(f"`{name}` must be a number", name)
    if not least <= value <= most or not math.isfinite(value):
        raise RefusedError(f"`{name}` must be from {least:g} to {most:g}", name)
    return float(value)


def whole(body: Body, name: str, least: int, most: int) -> int | None:
    """A whole number within [least, most], or None where there is none."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():  # JSON knows one kind of number: 3.0 is 3
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusedError(f"`{name}` must be a whole number", name)
    if not least <= value <= most:
        raise RefusedError(f"`{name}` must be from {least} to {most}", name)
    return value


def token_ids(given: Any, vocabulary: int) -> tuple[int, ...] | None:
    """A list of token ids, None for what is none."""
    if not isinstance(given, list):
        return None
    ids = tuple(int(one) if isinstance(one, float) and one.is_integer() else one for one in given)
    return ids if all(type(one) is int and 0 <= one < vocabulary for one in ids) else None


def flag(body: Body, name: str, default: bool = False) -> bool:
    """True or false; null is the default."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise RefusedError(f"`{name}` must be true or false", name)
    return value


def check_names(body: Body, known: frozenset[str], fixed: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse parameters that nobody knows, and values that are not built; null is as if it were not there."""
    for name, value in body.items():
        if value is None or name in known:
            continue
        if name not in fixed:
            raise RefusedError(f"`{name[:80]}` is not supported", name[:80], code="unsupported_parameter")
        if not any(value is one or (value == one and type(value) is type(one)) for one in fixed[name]):
            allowed = " or ".join(json.dumps(one) for one in fixed[name])
            raise RefusedError(f"`{name}` is supported only as {allowed}", name, code="unsupported_value")
