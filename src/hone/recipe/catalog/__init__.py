"""The catalogue of well-known models: the template a model was taught with, told from its name. The rows are data."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["base", "chat"]

SIZE = r"\d+(?:\.\d+)?[bm](?:-a\d+(?:\.\d+)?b)?"
"""What `{size}` in a pattern stands for: `7b`, `1.5b`, `135m`, `30b-a3b`."""

FORMAT = re.compile(
    r"\.gguf$|[-.]gguf$|[-.](?:i?q\d_\w+|bf16|f16|f32|fp16)$|-(?:gptq|awq|fp8|mxfp4|bnb)\b.*$|-int[48]$|-[48]bit$"
)
"""How the weights are stored, which says nothing about the template and is passed over at the end of a name."""

CHAT = re.compile(r"(?:^|-)(?:instruct|chat|it|sft|rl|thinking|reasoning|dpo)(?:-|$)")
BASE = re.compile(r"(?:^|-)(?:base|pt)(?:-|$)")


@dataclass(frozen=True)
class CatalogEntry:
    """What is known of a model: the family's name, its template, and whether it is a base or a chat model."""

    name: str
    template: str
    kind: Kind


def find_model(name_or_path: str | Path) -> CatalogEntry | None:
    """What the catalogue knows of a hub id, a folder or a GGUF file; None when nothing, or more than one thing, fits.

    Only the last part of the path counts, in any letter case, without its storage format (`-AWQ`, `.Q4_K_M.gguf`):
    `Qwen/Qwen2.5-7B-Instruct`, `/models/qwen2.5-7b-instruct/` and a hub cache's snapshot folder are the same model.
    """
    name = model_name(name_or_path)
    found = [family for family in families() if family.pattern.fullmatch(name)]
    if len({family.template for family in found}) != 1:
        return None
    family = found[0]
    kind: Kind = "base" if BASE.search(name) else "chat" if CHAT.search(name) else family.bare
    return CatalogEntry(family.name, family.template, kind)


def model_name(name_or_path: str | Path) -> str:
    """The part of a path or hub id that names the model, in lower case, without its storage format."""
    parts = [part for part in str(name_or_path).replace("\\", "/").split("/") if part]
    if len(parts) >= 3 and parts[-2] == "snapshots":
        parts = parts[-3].split("--")
    name, before = (parts[-1].lower() if parts else ""), None
    while name != before:
        before, name = name, FORMAT.sub("", name)
    return name


@dataclass(frozen=True)
class Family:
    """One row of the data: a name matches as a whole; `bare` is what a name without a telling suffix is."""

    name: str
    template: str
    pattern: re.Pattern[str]
    bare: Kind


@functools.cache
def families() -> tuple[Family, ...]:
    """All rows of all files."""
    return tuple(_rows())


def _rows() -> Iterator[Family]:
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for row in tomllib.loads(path.read_text("utf-8"))["family"]:
            pattern = "|".join(row["names"]).replace("{size}", SIZE)
            yield Family(row["name"], row["template"], re.compile(pattern), row.get("bare", "base"))
