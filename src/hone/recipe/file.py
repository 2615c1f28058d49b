"""Open a recipe file: bytes to text, with the encoding and the place of what is not UTF-8."""

from __future__ import annotations

from pathlib import Path

from hone.errors import Fault, RecipeError
from hone.recipe.entry import Entry, twice

LARGEST = 256 * 1024
"""A recipe of more bytes is taken for another kind of file."""


def read_file(name: str) -> tuple[list[Entry], list[Fault]]:
    """The settings in the file, and a fault for each duplicate. Raises RecipeError if it cannot be read at all."""
    text = _decode(_bytes(name), name)
    if name.lower().endswith(".json"):
        from hone.recipe.json_file import read_json

        entries = read_json(text, name)
    else:
        from hone.recipe.yaml_file import read_yaml

        entries = read_yaml(text, name)
    return entries, twice(entries)


def _bytes(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise RecipeError.one("CFG-FILE", "no such file", name, "check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError.one("CFG-FILE", "cannot be read", name, reason) from error
    if len(content) > LARGEST:
        raise RecipeError.one("CFG-FILE", "too large for a recipe", name, f"more than {LARGEST // 1024} KiB")
    return content


def _decode(content: bytes, name: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RecipeError.one("CFG-ENCODING", "UTF-16", f"{name}: byte 0", "save the file as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = "it looks like GBK" if _is_gbk(content) else "its encoding is unknown"
        where = f"{name}:{line}: byte {error.start}"
        raise RecipeError.one("CFG-ENCODING", "not UTF-8", where, f"{found}; save it as UTF-8") from error


def _is_gbk(content: bytes) -> bool:
    try:
        content.decode("gb18030")
    except UnicodeDecodeError:
        return False
    return True
