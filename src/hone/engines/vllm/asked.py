"""Our settings in vLLM's words, and what of them it has no words for."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from hone.engines.base import Settings
from hone.errors import RecipeError

COOLEST, HOTTEST = 0.01, 2.0
"""The temperatures that vLLM draws with; it raises lower ones in silence."""


def check_asked(settings: Settings) -> None:
    """Raises RecipeError for what vLLM would answer otherwise than the built-in engine does."""
    if not settings.greedy and not COOLEST <= settings.temperature <= HOTTEST:
        raise RecipeError.one(
            "ENGINE-ASKED",
            f"vLLM draws with temperatures from {COOLEST} to {HOTTEST:g}, not {settings.temperature:g}",
            "temperature",
            "0 always takes the likeliest token",
        )
    if settings.grammar_after and (settings.presence_penalty or settings.frequency_penalty):
        raise RecipeError.one(
            "ENGINE-ASKED",
            "vLLM cannot hold an answer to a schema behind a thought and count what the thought said",
            "presence_penalty",
            "leave the penalties out",
        )


def asked(settings: Settings, *, room: int, stops: Collection[int], held: bool) -> dict[str, Any]:
    """Arguments of `SamplingParams` for up to `room` further tokens. `held`: the answer follows the grammar from here.

    The ends are those of our template alone, and texts are made and searched for stop texts by us.
    """
    greedy = settings.greedy
    words: dict[str, Any] = {
        "max_tokens": room,
        "temperature": 0.0 if greedy else settings.temperature,
        "top_p": 1.0 if greedy else settings.top_p,
        "top_k": 0 if greedy else max(settings.top_k, 0),
        "min_p": 0.0 if greedy else settings.min_p,
        "seed": None if settings.seed is None else settings.seed % 2**63,
        "repetition_penalty": settings.repetition_penalty,
        "presence_penalty": settings.presence_penalty,
        "frequency_penalty": settings.frequency_penalty,
        "logit_bias": dict(settings.logit_bias) or None,
        "stop_token_ids": sorted(stops),
        "ignore_eos": True,
        "logprobs": settings.logprobs,
        "detokenize": False,
    }
    return words | ({"structured_outputs": held_to(str(settings.grammar))} if held else {})


def held_to(grammar: str) -> dict[str, Any]:
    """A grammar of ours (`hone.engines.grammar`) in vLLM's words: a JSON schema, or rules in Lark's syntax."""
    if not grammar.lstrip().startswith("{"):
        return {"grammar": grammar}
    (only,) = json.loads(grammar)["grammars"]
    return {"json": only["json_schema"]}
