"""The engine's pieces as OpenAI's answers: whole, or delta by delta."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from hone.dialogue.encoder import Encoder
from hone.dialogue.message import Part, Text, Thought, ToolCall
from hone.dialogue.parse import StreamParser
from hone.dialogue.tools import dialect
from hone.engines.base import Odds, Piece


class Answer:
    """One answer being written, read as it comes; `delta` gives what is new in OpenAI's words."""

    def __init__(self, encoder: Encoder, *, inside_thought: bool, tools: bool, one_call: bool, logprobs: bool) -> None:
        self.encoder = encoder
        self.parser = StreamParser(encoder.template, inside_thought=inside_thought)
        self.tools, self.one_call, self.logprobs = tools, one_call, logprobs
        self.tokens, self.calls = 0, 0
        self.finish: str | None = None
        self.whole: dict[str, Any] = {"role": "assistant", "content": None}
        self.odds: list[dict[str, Any]] = []

    def delta(self, piece: Piece) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What this piece adds to the message, and the log-probabilities of its tokens."""
        self.tokens += len(piece.ids)
        parts = self.parser.feed(piece.text)
        if piece.finish is not None:
            parts = [*parts, *self.parser.close()]
        new = self._said(parts)
        if piece.finish is not None:
            self.finish = "tool_calls" if self.calls and piece.finish == "stop" else piece.finish
        told = odds_of(self.encoder.tokenizer, piece.odds) if self.logprobs else []
        self.odds += told
        return new, told

    def choice(self, index: int) -> dict[str, Any]:
        """The finished answer."""
        message = dict(self.whole)
        if message["content"] is None and not self.calls:
            message["content"] = ""
        if "tool_calls" in message:
            message["tool_calls"] = [
                {key: value for key, value in call.items() if key != "index"} for call in message["tool_calls"]
            ]
        told = {"content": self.odds} if self.logprobs else None
        return {"index": index, "message": message, "finish_reason": self.finish, "logprobs": told}

    def _said(self, parts: Iterable[Part]) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for part in parts:
            if isinstance(part, ToolCall) and self.tools:
                if not (self.one_call and self.calls):
                    new.setdefault("tool_calls", []).append(self._call(part))
            elif isinstance(part, Thought):
                new["reasoning_content"] = new.get("reasoning_content", "") + part.text
            else:
                new["content"] = new.get("content", "") + self._text(part)
        for key, value in new.items():
            self.whole[key] = (self.whole.get(key) or ([] if key == "tool_calls" else "")) + value
        return new

    def _call(self, part: ToolCall) -> dict[str, Any]:
        arguments = json.dumps(part.arguments, ensure_ascii=False)
        if unbroken(arguments) != arguments:
            arguments = json.dumps(part.arguments)
        self.calls += 1
        function = {"name": unbroken(part.name), "arguments": arguments}
        return {
            "index": self.calls - 1,
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": function,
        }

    def _text(self, part: Part) -> str:
        """What was said; a call that nobody offered a tool for is said as the model wrote it."""
        if isinstance(part, ToolCall):
            return unbroken("".join(run.text for run in dialect(self.encoder.template.calls).write([part])))
        return part.text if isinstance(part, Text) else ""


def unbroken(text: str) -> str:
    """The text with a sign for each half of a character: the JSON of a call may name one, and none can be sent."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def odds_of(tokenizer: Any, odds: Sequence[Odds]) -> list[dict[str, Any]]:
    """OpenAI's `logprobs.content`."""
    return [
        _token(tokenizer, one.id, one.logprob)
        | {"top_logprobs": [_token(tokenizer, token, logprob) for token, logprob in one.likeliest]}
        for one in odds
    ]


def _token(tokenizer: Any, token: int, logprob: float) -> dict[str, Any]:
    text = tokenizer.decode([token])
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}


def usage_of(prompt: int, answered: int) -> dict[str, int]:
    """OpenAI's `usage`."""
    return {"prompt_tokens": prompt, "completion_tokens": answered, "total_tokens": prompt + answered}
