"""A model's JSON files, read with care: bounded, finite, and an object."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from hone.errors import ModelError
from hone.models.safetensors_header import looks_like

LARGEST = 8 << 20
"""Bytes."""


def read_json(path: Path, *, largest: int = LARGEST) -> dict[str, Any]:
    """A JSON object with finite numbers only, of at most `largest` bytes. Raises ModelError."""
    with path.open("rb") as file:
        raw = file.read(largest + 1)
    try:
        if len(raw) > largest:
            raise ValueError(f"more than {largest} bytes")
        found = json.loads(raw.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
        if not isinstance(found, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as reason:
        raise ModelError.one(
            "MODEL-JSON", f"not a proper JSON file{looks_like(raw[:8])}: {reason}", str(path), "fetch the file again"
        ) from None
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that can be used")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text)
