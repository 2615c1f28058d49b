"""Read a JSON recipe: a strict reader that knows the line of every setting and refuses duplicates."""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NoReturn

from hone.errors import RecipeError
from hone.recipe.entry import Entry

_SPACE = re.compile(r"[ \t\r\n]*")


def read_json(text: str, name: str) -> list[Entry]:
    """The settings of a JSON object, in order, duplicates included. Raises RecipeError with line and column."""
    try:
        return _Reader(text, name).entries()
    except json.JSONDecodeError as error:
        where = f"{name}:{error.lineno}:{error.colno}"
        raise RecipeError.one("CFG-JSON", "not JSON", where, error.msg) from error
    except RecursionError as error:
        raise RecipeError.one("CFG-JSON", "nested too deeply", name, "a recipe needs few levels") from error
    except ValueError as error:
        raise RecipeError.one("CFG-JSON", "not JSON", name, str(error)) from error


class _Reader:
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name, self.at = text, name, 0
        self.decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)

    def entries(self) -> list[Entry]:
        found: list[Entry] = []
        self.expect("{", "a recipe is a JSON object: { … }")
        while self.peek() != "}":
            if found:
                self.expect(",", "a comma is missing")
            found.append(self.entry())
        self.expect("}", "")
        if self.peek():
            self.fail("something follows the object")
        return found

    def entry(self) -> Entry:
        self.expect('"', "a name in double quotes is missing")
        line = self.text.count("\n", 0, self.at) + 1
        key, self.at = scanstring(self.text, self.at, True)
        self.expect(":", "a colon is missing")
        self.peek()
        value, self.at = self.decoder.raw_decode(self.text, self.at)
        return Entry(key, value, f"{self.name}:{line}")

    def peek(self) -> str:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text[self.at : self.at + 1]

    def expect(self, mark: str, otherwise: str) -> None:
        if self.peek() != mark:
            self.fail(otherwise)
        self.at += 1

    def fail(self, message: str) -> NoReturn:
        raise json.JSONDecodeError(message, self.text, self.at)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"given twice: {', '.join(sorted({name for name in names if names.count(name) > 1}))}")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")
