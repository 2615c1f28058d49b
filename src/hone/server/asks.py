"""A request's body as what the engine is asked: its prompt, how to answer, and in which shape."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from hone.dialogue.encoder import Encoder
from hone.engines.base import Odds, Settings
from hone.engines.grammar import GrammarError
from hone.engines.session import opens_thought
from hone.server.fields import Body, check_names, flag, whole
from hone.server.pictures import Look
from hone.server.refusal import RefusedError
from hone.server.sampling import NAMES, read_logprobs, read_settings, several, streaming
from hone.server.service import Service
from hone.server.shape import calls_grammar, read_choice, read_format
from hone.server.wire import read_conversation, read_tools

COMMON = NAMES | {"model", "stream", "stream_options", "user", "metadata", "safety_identifier", "prompt_cache_key"}
CHAT = COMMON | {"messages", "tools", "tool_choice", "parallel_tool_calls", "max_completion_tokens"}
CHAT = CHAT | {"logprobs", "top_logprobs", "response_format"}
FIXED: dict[str, tuple[Any, ...]] = {
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "functions": ([],),
    "verbosity": ("medium",),
}
PLAIN = COMMON | {"prompt", "echo", "logprobs"}
PLAIN_FIXED: dict[str, tuple[Any, ...]] = {"best_of": (1,), "suffix": ("",)}


@dataclass(frozen=True)
class Ask:
    """A request, read and found good."""

    prompt: list[int]
    settings: list[Settings]
    model: str
    encoder: Encoder
    stream: bool = False
    usage: bool = False
    chat: bool = True
    inside_thought: bool = False
    tools: bool = False
    one_call: bool = False
    echo: str | None = None
    told: tuple[Odds, ...] = ()
    logprobs: bool = False
    seen: Any = None


async def read_chat(service: Service, body: Body) -> Ask:
    """Raises RefusedError, and what the encoder raises."""
    check_names(body, CHAT, FIXED)
    model, encoder, settings = service.voice(body)
    template = encoder.template
    tools, must_call = read_choice(body, read_tools(body.get("tools")))
    if tools and template.tools is None and not getattr(template, "describes", False):
        raise RefusedError("this model's template knows no tools", "tools")
    messages, look = body.get("messages"), Look(service.session.blindness(settings.adapter), service.sources)
    conversation = await service.gallery.read(messages, lambda: read_conversation(messages, tools, look))
    grammar = calls_grammar(template, tools) if must_call else read_format(body, tools)
    settings = replace(read_settings(body, settings, service.vocabulary), logprobs=read_logprobs(body))
    prompt, seen = await service.encoded(encoder, conversation)
    inside = opens_thought(encoder, prompt)
    if grammar is not None:
        after = template.words.thought[1].strip() if inside else ""
        settings = replace(settings, grammar=grammar, grammar_after=after)
        await _check(service, settings, "tool_choice" if must_call else "response_format")
    return Ask(
        prompt,
        several(body, settings),
        model,
        encoder,
        *streaming(body),
        inside_thought=inside,
        tools=bool(tools),
        one_call=not flag(body, "parallel_tool_calls", True),
        seen=seen,
    )


async def read_plain(service: Service, body: Body) -> Ask:
    """The same for a text to be continued as it stands."""
    check_names(body, PLAIN, PLAIN_FIXED)
    echo, likeliest = flag(body, "echo"), whole(body, "logprobs", 0, 20)
    model, encoder, base = service.voice(body)
    none = echo and body.get("max_tokens") == 0 and type(body["max_tokens"]) is int
    settings = read_settings({**body, "max_tokens": 1} if none else body, base, service.vocabulary)
    prompt = await service.ids_of(body.get("prompt"))
    settings.room(len(prompt), service.engine.context)
    wanted = [] if none else several(body, replace(settings, logprobs=likeliest))
    told: tuple[Odds, ...] = ()
    if echo and likeliest is not None:
        told = tuple(await asyncio.wrap_future(service.engine.prompt_odds(prompt, likeliest, settings.adapter)))
    return Ask(
        prompt,
        wanted,
        model,
        encoder,
        *streaming(body),
        chat=False,
        echo=service.tokenizer.decode(prompt) if echo else None,
        told=told,
        logprobs=likeliest is not None,
    )


async def _check(service: Service, settings: Settings, param: str) -> None:
    grammars = service.engine.grammars
    try:
        await asyncio.to_thread(grammars.check, settings.grammar, settings.stop_ids)
    except GrammarError as error:
        raise RefusedError(error.faults[0].what, param) from None
