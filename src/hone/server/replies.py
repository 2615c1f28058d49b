"""The engine's pieces as the answer to a request: in one piece, or as server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from hone.server.answers import Answer, usage_of
from hone.server.arrivals import Arrivals
from hone.server.asks import Ask
from hone.server.refusal import refusal_of
from hone.server.texts import Continuation


async def whole(ask: Ask, arrivals: Arrivals) -> dict[str, Any]:
    """The answer in one piece."""
    answers = _answers(ask)
    async for place, news in arrivals:
        answers[place].delta(news)
    choices = [one.choice(place) for place, one in enumerate(answers)]
    kind = "chat.completion" if ask.chat else "text_completion"
    return _head(ask, kind) | {"choices": choices, "usage": _usage(ask, answers)}


async def stream(ask: Ask, arrivals: Arrivals) -> AsyncIterator[str]:
    """The answer as server-sent events."""
    answers = _answers(ask)
    head = _head(ask, "chat.completion.chunk" if ask.chat else "text_completion")
    if ask.usage:
        head["usage"] = None
    try:
        for place, answer in enumerate(answers):
            first = _first(ask, answer, place)
            if first:
                yield _event(head | {"choices": [first]})
        async for place, news in arrivals:
            for choice in _choices(ask, answers[place], place, news):
                yield _event(head | {"choices": [choice]})
        if ask.usage:
            yield _event(head | {"choices": [], "usage": _usage(ask, answers)})
    except Exception as error:  # the status is sent already: the stream itself must say it
        yield _event(refusal_of(error).body)
    finally:
        arrivals.cancel()
    yield "data: [DONE]\n\n"


def _answers(ask: Ask) -> list[Any]:
    if not ask.chat:
        return [_continuation(ask) for _ in range(max(len(ask.settings), 1))]
    return [
        Answer(
            ask.encoder,
            inside_thought=ask.inside_thought,
            tools=ask.tools,
            one_call=ask.one_call,
            logprobs=one.logprobs is not None,
        )
        for one in ask.settings
    ]


def _continuation(ask: Ask) -> Continuation:
    found = Continuation(ask.encoder.tokenizer, logprobs=ask.logprobs)
    if ask.echo is not None and not ask.stream:
        found.echo(ask.echo, ask.prompt, ask.told)
    if not ask.settings:
        found.finish = "length"
    return found


def _head(ask: Ask, kind: str) -> dict[str, Any]:
    identity = f"{'chatcmpl' if ask.chat else 'cmpl'}-{secrets.token_hex(12)}"
    return {"id": identity, "object": kind, "created": int(time.time()), "model": ask.model}


def _first(ask: Ask, answer: Any, place: int) -> dict[str, Any] | None:
    """The chunk before the first piece: whose turn it is, or what was asked."""
    if ask.chat:
        return {"index": place, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    if ask.echo is None:
        return None
    text, told = answer.echo(ask.echo, ask.prompt, ask.told)
    return {"index": place, "text": text, "finish_reason": answer.finish, "logprobs": told}


def _choices(ask: Ask, answer: Any, place: int, news: Any) -> list[dict[str, Any]]:
    """The chunks of a piece: what is new, and at the end why it ended."""
    if not ask.chat:
        text, odds = answer.delta(news)
        shown = {"index": place, "text": text, "finish_reason": news.finish, "logprobs": odds}
        return [shown] if text or odds or news.finish else []
    new, told = answer.delta(news)
    choices: list[dict[str, Any]] = []
    if new or told:
        choices.append({"index": place, "delta": new, "finish_reason": None})
        if told:
            choices[0]["logprobs"] = {"content": told}
    if answer.finish:
        choices.append({"index": place, "delta": {}, "finish_reason": answer.finish})
    return choices


def _usage(ask: Ask, answers: list[Any]) -> dict[str, int]:
    return usage_of(len(ask.prompt), sum(one.tokens for one in answers))


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
