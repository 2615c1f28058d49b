"""Turning ids into text while they come: never half a character, and nothing lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REPLACEMENT = "�"
"""What tokenizers write for bytes that are no character (yet)."""


class Detokenizer:
    """The text of a growing sequence of ids. All that `feed` and `close` return, joined, is the text of the whole.

    New ids are decoded together with the last ones already shown, because a tokenizer may write a token differently
    at the start of a text (a leading space, for one). Text that ends within a character is held back.
    """

    def __init__(self, tokenizer: Any, *, skip_special_tokens: bool = True) -> None:
        self.tokenizer = tokenizer
        self.skip = skip_special_tokens
        self.ids: list[int] = []
        self.shown_from = 0  # where the ids decoded again for their context begin
        self.shown_to = 0  # how many ids have been shown

    def feed(self, ids: Sequence[int]) -> str:
        """The text that these further ids complete."""
        self.ids.extend(ids)
        return self._new(finished=False)

    def close(self) -> str:
        """What was held back, as far as it can be read."""
        return self._new(finished=True)

    def _new(self, *, finished: bool) -> str:
        before = self._decode(self.ids[self.shown_from : self.shown_to])
        now = self._decode(self.ids[self.shown_from :])
        if len(now) <= len(before) or (now.endswith(REPLACEMENT) and not finished):
            return ""
        self.shown_from, self.shown_to = self.shown_to, len(self.ids)
        return now[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=self.skip, clean_up_tokenization_spaces=False))
