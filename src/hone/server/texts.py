"""Plain completions in OpenAI's words: a text continued, its log-probabilities, and what was asked repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hone.engines.base import Odds, Piece

LEAST = -9999.0
"""JSON knows no infinity."""


class Continuation:
    """One continuation being written; `delta` gives what is new, `choice` the whole."""

    def __init__(self, tokenizer: Any, *, logprobs: bool) -> None:
        self.tokenizer, self.logprobs = tokenizer, logprobs
        self.tokens, self.text = 0, ""
        self.finish: str | None = None
        self.told: dict[str, list[Any]] = _nothing()
        self.offset = 0

    def delta(self, piece: Piece) -> tuple[str, dict[str, list[Any]] | None]:
        """What is new: text, and the log-probabilities of its tokens."""
        self.tokens += len(piece.ids)
        self.finish = piece.finish
        self.text += piece.text
        return piece.text, self._tell([(one.id, one) for one in piece.odds])

    def echo(self, text: str, ids: Sequence[int], odds: Sequence[Odds]) -> tuple[str, dict[str, list[Any]] | None]:
        """The prompt, before anything else."""
        self.text = text
        return text, self._tell([(ids[0], None), *((one.id, one) for one in odds)])

    def choice(self, index: int) -> dict[str, Any]:
        """The finished continuation."""
        told = self.told if self.logprobs else None
        return {"index": index, "text": self.text, "finish_reason": self.finish, "logprobs": told}

    def _tell(self, tokens: Sequence[tuple[int, Odds | None]]) -> dict[str, list[Any]] | None:
        if not self.logprobs:
            return None
        new = _nothing()
        for token, odds in tokens:
            word = self.tokenizer.decode([token])
            new["tokens"].append(word)
            new["token_logprobs"].append(None if odds is None else max(odds.logprob, LEAST))
            best = {} if odds is None else {self.tokenizer.decode([one]): max(of, LEAST) for one, of in odds.likeliest}
            new["top_logprobs"].append(None if odds is None else best)
            new["text_offset"].append(self.offset)
            self.offset += len(word)
        for name, values in new.items():
            self.told[name] += values
        return new


def _nothing() -> dict[str, list[Any]]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
