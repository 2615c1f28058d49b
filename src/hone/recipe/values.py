"""What a written value means: the key decides, so that `1e-4` is a number and a template called `no` stays a name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from hone.recipe.schema.key import Key, Kind

_NULLS = frozenset({"", "~", "null", "Null", "NULL", "None"})
_TRUE = frozenset({"true", "yes", "on", "y", "t", "1"})
_FALSE = frozenset({"false", "no", "off", "n", "f", "0"})
_INT = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9_]+)([eE][-+]?[0-9]+)?")
_NAMES: Mapping[Kind, str] = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "numbers": "a list of numbers",
    "dict": "a mapping",
}


class Plain(str):
    """An unquoted word of YAML or of the command line: its key decides whether it is text, a number or nothing."""

    __slots__ = ()


class MisfitError(Exception):
    """A value that its key cannot take; the message says what it takes."""


def fit(key: Key, value: Any) -> Any:
    """The value in the key's own type. Raises `MisfitError` if it has none, or is out of the choices or the range."""
    if value is None or (isinstance(value, Plain) and value in _NULLS):
        return _nothing(key)
    fitted = _first_kind(key, value)
    if key.about.choices and fitted not in key.about.choices:
        close = get_close_matches(str(fitted), key.about.choices, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise MisfitError(f"must be one of {', '.join(key.about.choices)}, not {_shown(key, value)}{meant}")
    if key.about.limits and not key.about.limits.allow(fitted):
        raise MisfitError(f"must be {key.about.limits}, not {_shown(key, value)}")
    return fitted


def natural(value: Any) -> Any:
    """A value with no key to decide: plain words by the rules of YAML 1.2, everything else as it is."""
    if isinstance(value, Mapping):
        return {str(name): natural(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [natural(inner) for inner in value]
    if not isinstance(value, Plain):
        return value
    if value in _NULLS - {"None"}:
        return None
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for read in (_int, _float):
        try:
            return read(value)
        except ValueError:
            continue
    return str(value)


def is_truth(word: str) -> bool:
    """Whether a switch can take this word, `null` among them."""
    return word.strip().lower() in _TRUE | _FALSE or word in _NULLS


def _nothing(key: Key) -> Any:
    if key.nullable:
        return None
    if key.default == ():
        return ()
    raise MisfitError(f"needs a value; leave the line out for the default, {shown(key.default)}")


def _first_kind(key: Key, value: Any) -> Any:
    kinds = [kind for kind in key.kinds if kind != "null"]
    for kind in kinds:
        try:
            return _READERS[kind](value, key)
        except (ValueError, RecursionError):
            continue
    if not kinds:
        raise MisfitError("can only be left out")
    raise MisfitError(f"must be {' or '.join(_NAMES[kind] for kind in kinds)}, not {_shown(key, value)}")


def _shown(key: Key, value: Any) -> str:
    return "that" if key.about.secret else shown(value)


def shown(value: Any) -> str:
    """A value as a fault or a table shows it: short, and on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, tuple):
        value = ",".join(map(str, value)) or "[]"
    text = f'"{value}"' if isinstance(value, str) and (not value or value != value.strip()) else str(value)
    text = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= 60 else text[:57] + "..."


def _text(value: Any, _key: Key) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    if "\0" in str(value):
        raise ValueError
    return str(value)


def _whole(value: Any, _key: Key) -> int:
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, str):
        try:
            return _int(value)
        except ValueError:
            value = _float(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError


def _number(value: Any, key: Key) -> float:
    if key.name.endswith("_steps"):
        try:
            return _whole(value, key)
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    number = _float(value) if isinstance(value, str) else float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _truth(value: Any, _key: Key) -> bool:
    word = str(value).strip().lower() if isinstance(value, str | bool | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError


def _list(value: Any, key: Key) -> tuple[str, ...]:
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") and text.endswith("]"):
            return _list(_flow(text), key)
        return tuple(part for part in map(str.strip, text.split(",")) if part)
    if isinstance(value, list | tuple):
        return tuple(_text(each, key).strip() for each in value)
    raise ValueError


def _numbers(value: Any, key: Key) -> tuple[float, ...]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (float(value),)
    return tuple(_number(each, key) for each in _list(value, key))


def _mapping(value: Any, _key: Key) -> dict[str, Any]:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = _flow(value)
    if not isinstance(value, Mapping):
        raise ValueError
    return natural(value)


def _flow(text: str) -> Any:
    """A list or mapping written in one word: JSON, or YAML's short form. Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError:
        from hone.recipe.yaml_file import parse_flow

        return parse_flow(text)


def _int(text: str) -> int:
    if not _INT.fullmatch(text.strip()):
        raise ValueError(text)
    return int(text)


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text.strip()):
        raise ValueError(text)
    return float(text)


_READERS: Mapping[Kind, Callable[[Any, Key], Any]] = {
    "str": _text,
    "int": _whole,
    "float": _number,
    "bool": _truth,
    "list": _list,
    "numbers": _numbers,
    "dict": _mapping,
}
