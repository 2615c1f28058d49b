"""A tokenizer tried before it is trusted: added words have the ids that its file says, its pattern copes with texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hone.errors import ModelError

HARD = tuple(f"{letter * 64}~" for letter in "a1 .\n中")
"""What patterns that can be cut in many ways are slow on."""
ENOUGH = 4 << 20
"""Bytes that hold the list of any real tokenizer."""
MEND = "fetch tokenizer.json of this model again"


def check_words(tokenizer: Any, path: Path) -> None:
    """Raise ModelError for added words that are read with other ids than the file (if there is one) gives them, such
    as doubles, empty words and ids beyond the vocabulary; and for a pattern that is too slow."""
    added = _added(path)
    read = tokenizer.convert_tokens_to_ids([word for word, _ in added])
    for (word, number), found in zip(added, read, strict=True):
        if found != number:
            what = f"the added token {word!r} has the id {number} in the file, but is read as {found}"
            raise ModelError.one("TOKENIZER", what, str(path), MEND)
    try:
        tokenizer(list(HARD), add_special_tokens=False)
    except BaseException as reason:  # its library gives up in a way of its own, which is no Exception
        if isinstance(reason, KeyboardInterrupt | SystemExit):
            raise
        what = f"the pattern that cuts words gives up on simple texts ({str(reason).splitlines()[0][:100]})"
        raise ModelError.one("TOKENIZER", what, str(path), MEND) from None


def _added(path: Path) -> list[tuple[str, int]]:
    """The list `added_tokens` alone: the rest of a large file is neither decoded nor read as JSON."""
    name, place = b'"added_tokens"', 0
    content = path.read_bytes() if path.is_file() else b""
    while (place := content.find(name, place)) >= 0:
        place += len(name)
        start = content.find(b"[", place)
        if start < 0 or content[place:start].strip() != b":":
            continue  # a word of the vocabulary
        for end in (start + ENOUGH, len(content)):
            try:
                found = json.JSONDecoder().raw_decode(content[start:end].decode("utf-8", "ignore"))[0]
                return [(one["content"], one["id"]) for one in found]
            except ValueError:
                continue
    return []
