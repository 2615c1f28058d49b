"""How to answer: the sampling parameters of a request over the recipe's own settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hone.engines.base import Settings
from hone.server.fields import Body, flag, number, token_ids, whole
from hone.server.refusal import RefusedError

NAMES = frozenset(
    {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed"}
    | {"stop", "stop_token_ids", "max_tokens", "logit_bias", "n", "do_sample", "skip_special_tokens"}
)
MOST_STOPS, MOST_LETTERS, MOST_BIASES, MOST_ANSWERS = 16, 256, 1024, 16


def read_settings(body: Body, base: Settings, vocabulary: int) -> Settings:
    """The settings of a request. Raises RefusedError with the parameter's name."""
    most = whole(body, "max_tokens", 1, 2**31)
    longest = whole(body, "max_completion_tokens", 1, 2**31)
    wanted = longest if longest is not None else most
    changes: dict[str, Any] = {} if wanted is None else {"max_new_tokens": wanted, "elastic": False}
    seed = whole(body, "seed", -(2**63), 2**63 - 1)
    asked_top_k = whole(body, "top_k", -1, 2**31)
    return replace(
        base,
        do_sample=flag(body, "do_sample", base.do_sample),
        temperature=number(body, "temperature", 0, 2, base.temperature),
        top_p=number(body, "top_p", 1e-9, 1, base.top_p),
        top_k=base.top_k if asked_top_k is None else asked_top_k,
        min_p=number(body, "min_p", 0, 1, base.min_p),
        repetition_penalty=number(body, "repetition_penalty", 1e-3, 100, base.repetition_penalty),
        presence_penalty=number(body, "presence_penalty", -2, 2, 0),
        frequency_penalty=number(body, "frequency_penalty", -2, 2, 0),
        skip_special_tokens=flag(body, "skip_special_tokens", base.skip_special_tokens),
        seed=base.seed if seed is None else seed,
        stop=_stop(body.get("stop")),
        stop_ids=(*base.stop_ids, *_ids(body.get("stop_token_ids"), vocabulary)),
        logit_bias=_bias(body.get("logit_bias"), vocabulary),
        **changes,
    )


def several(body: Body, settings: Settings) -> list[Settings]:
    """`n` answers; each has random numbers of its own, repeatable where a seed is given."""
    count = whole(body, "n", 1, MOST_ANSWERS) or 1
    if settings.seed is None:
        return [settings] * count
    return [replace(settings, seed=(settings.seed + place) % 2**63) for place in range(count)]


def streaming(body: Body) -> tuple[bool, bool]:
    """Whether to stream, and whether the stream tells its usage. Raises RefusedError."""
    stream, options = flag(body, "stream"), body.get("stream_options")
    if options is None:
        return stream, False
    if not stream or not isinstance(options, dict) or set(options) - {"include_usage"}:
        raise RefusedError("`stream_options` goes with `stream`, and holds `include_usage`", "stream_options")
    return stream, flag(options, "include_usage")


def read_logprobs(body: Body) -> int | None:
    """How many of the likeliest tokens to tell beside each, None for nothing. Raises RefusedError."""
    likeliest = whole(body, "top_logprobs", 0, 20)
    if not flag(body, "logprobs"):
        if likeliest:
            raise RefusedError("`top_logprobs` goes with `logprobs`", "top_logprobs")
        return None
    return likeliest or 0


def _stop(given: Any) -> tuple[str, ...]:
    words = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise RefusedError("`stop` must be a text or a list of texts", "stop")
    if len(words) > MOST_STOPS or any(not 0 < len(word) <= MOST_LETTERS for word in words):
        raise RefusedError(f"`stop` takes up to {MOST_STOPS} texts of 1 to {MOST_LETTERS} letters", "stop")
    return tuple(words)


def _ids(given: Any, vocabulary: int) -> tuple[int, ...]:
    if given is None:
        return ()
    ids = token_ids(given, vocabulary)
    if ids is None or len(ids) > MOST_STOPS:
        raise RefusedError(f"`stop_token_ids` must be up to {MOST_STOPS} token ids", "stop_token_ids")
    return ids


def _bias(given: Any, vocabulary: int) -> tuple[tuple[int, float], ...]:
    if given is None:
        return ()
    if not isinstance(given, dict) or len(given) > MOST_BIASES:
        raise RefusedError(f"`logit_bias` must be an object with up to {MOST_BIASES} token ids", "logit_bias")
    found = []
    for key, value in given.items():
        token = int(key) if key.isascii() and key.isdigit() and len(key) < 10 else -1
        if not 0 <= token < vocabulary or isinstance(value, bool) or not isinstance(value, int | float):
            raise RefusedError("`logit_bias` must name token ids, each with a number", "logit_bias")
        if not -100 <= value <= 100:
            raise RefusedError("`logit_bias` must be from -100 to 100", "logit_bias")
        found.append((token, float(value)))
    return tuple(found)
