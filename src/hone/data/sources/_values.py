"""JSON as users write it: NaN and Infinity are missing values, control characters in strings stand."""

from __future__ import annotations

import json
from typing import Any

_DECODER = json.JSONDecoder(parse_constant=lambda _: None, strict=False)


class Broken(Exception):  # noqa: N818 - a finding, not an error of ours
    """Text that is not JSON: what is wrong and where in the text. `more` says that the end may just not be read yet."""

    def __init__(self, what: str, position: int, more: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.position = position
        self.more = more


def decode(text: str, start: int = 0) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends. Raises Broken."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as fault:
        unfinished = fault.pos >= len(text) - 8 or fault.msg.startswith("Unterminated string")
        raise Broken(_said(fault.msg), fault.pos, more=unfinished) from None
    except RecursionError:
        raise Broken("nested too deeply", start) from None
    except ValueError as fault:
        raise Broken(str(fault).split(";")[0], start) from None
    _refuse_halves(text, start, end, value)
    return value, end


def _refuse_halves(text: str, start: int, end: int, value: Any) -> None:
    # Half of a surrogate pair (`\ud83d` alone) is no letter, and no tokenizer takes it. Escapes are rare: look first.
    found = text.find("\\ud", start, end)
    found = found if found >= 0 else text.find("\\uD", start, end)
    if found < 0:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Broken("half of a surrogate pair, which is no character", found) from None


def _said(message: str) -> str:
    return message[0].lower() + message[1:]


def as_text(value: Any) -> str:
    """The value as one line of JSON; what JSON has no words for (bytes, dates) is only described."""
    return json.dumps(value, ensure_ascii=False, default=_described)


def _described(value: Any) -> str:
    return f"<{len(value):,} bytes>" if isinstance(value, bytes) else str(value)
