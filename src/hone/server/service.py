"""What the routes do: a body becomes a prompt and settings, the engine's pieces become an answer or a stream."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

from hone.dialogue.encoder import Encoder
from hone.dialogue.message import Conversation
from hone.dialogue.slots import piece, said
from hone.engines.base import Odds, Settings
from hone.engines.grammar import GrammarError
from hone.engines.session import Session, opens_thought
from hone.models.value_head import value_head
from hone.server.answers import Answer, usage_of
from hone.server.arrivals import Arrivals
from hone.server.fields import Body, check_names, flag, token_ids, whole
from hone.server.pictures import Gallery, Look
from hone.server.refusal import RefusedError, refusal_of
from hone.server.sampling import NAMES, read_logprobs, read_settings, several, streaming
from hone.server.shape import calls_grammar, read_choice, read_format
from hone.server.sources import Sources
from hone.server.tally import Tally
from hone.server.texts import Continuation
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


class Service:
    """A session and the name its model is served under; `folders`: where adapters may be loaded from while it runs,
    `sources`: where pictures may be taken from."""

    def __init__(
        self,
        session: Session,
        settings: Settings,
        name: str,
        folders: Sequence[Path] = (),
        sources: Sources | None = None,
    ) -> None:
        self.sources = sources or Sources()
        self.session, self.settings, self.name = session, settings, name
        self.folders = tuple(folders)
        self.engine: Any = session.engine
        self.encoder = session.encoder
        self.tokenizer: Any = session.encoder.tokenizer
        self.vocabulary = min(len(self.encoder.control.vocabulary), self.engine.vocabulary)
        self.created = int(time.time())
        self.loading = asyncio.Lock()
        self.encoding = asyncio.Lock()
        self.tally = Tally()
        self.gallery = Gallery()
        self.open: WeakSet[Arrivals] = WeakSet()

    def check_mode(self, *, scores: bool) -> None:
        """A reward model scores, any other one answers. Raises RefusedError."""
        rewards = self.engine.model is not None and value_head(self.engine.model) is not None
        if rewards is not scores:
            what = "this is a reward model: it does not answer" if rewards else "only a reward model gives scores"
            raise RefusedError(what, status=405)

    @property
    def sees(self) -> bool:
        """Whether a request may have pictures."""
        return not self.session.blindness()

    async def read_chat(self, body: Body) -> Ask:
        """Raises RefusedError, and what the encoder raises."""
        check_names(body, CHAT, FIXED)
        model, encoder, settings = self.voice(body)
        template = encoder.template
        tools, must_call = read_choice(body, read_tools(body.get("tools")))
        if tools and template.tools is None and not getattr(template, "describes", False):
            raise RefusedError("this model's template knows no tools", "tools")
        messages, look = body.get("messages"), Look(self.session.blindness(settings.adapter), self.sources)
        conversation = await self.gallery.read(messages, lambda: read_conversation(messages, tools, look))
        grammar = calls_grammar(template, tools) if must_call else read_format(body, tools)
        settings = replace(read_settings(body, settings, self.vocabulary), logprobs=read_logprobs(body))
        prompt, seen = await self._encoded(encoder, conversation)
        inside = opens_thought(encoder, prompt)
        if grammar is not None:
            after = template.words.thought[1].strip() if inside else ""
            settings = replace(settings, grammar=grammar, grammar_after=after)
            await self._check(settings, "tool_choice" if must_call else "response_format")
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

    async def read_plain(self, body: Body) -> Ask:
        """The same for a text to be continued as it stands."""
        check_names(body, PLAIN, PLAIN_FIXED)
        echo, likeliest = flag(body, "echo"), whole(body, "logprobs", 0, 20)
        model, encoder, base = self.voice(body)
        none = echo and body.get("max_tokens") == 0 and type(body["max_tokens"]) is int
        settings = read_settings({**body, "max_tokens": 1} if none else body, base, self.vocabulary)
        prompt = await self.ids_of(body.get("prompt"))
        settings.room(len(prompt), self.engine.context)
        wanted = [] if none else several(body, replace(settings, logprobs=likeliest))
        told: tuple[Odds, ...] = ()
        if echo and likeliest is not None:
            told = tuple(await asyncio.wrap_future(self.engine.prompt_odds(prompt, likeliest, settings.adapter)))
        return Ask(
            prompt,
            wanted,
            model,
            encoder,
            *streaming(body),
            chat=False,
            echo=self.tokenizer.decode(prompt) if echo else None,
            told=told,
            logprobs=likeliest is not None,
        )

    def voice(self, body: Body) -> tuple[str, Encoder, Settings]:
        """Who answers: the name to say back, how it is spoken to, and its settings. Raises RefusedError.

        Any name is the model's own as long as no adapter was ever loaded by name.
        """
        model, session = body.get("model"), self.session
        if model is not None and (not isinstance(model, str) or len(model) > 256):
            raise RefusedError("`model` must be a name", "model")
        adapter = model if model in session.encoders else None
        if adapter is None and model and model != self.name and session.by_name:
            raise RefusedError(f"the model `{model}` is not served here", "model", status=404, code="model_not_found")
        encoder = session.encoder_of(adapter)
        if encoder is self.encoder:
            return model or self.name, encoder, replace(self.settings, adapter=adapter)
        return model or self.name, encoder, replace(self.settings, adapter=adapter, stop_ids=tuple(encoder.stop_ids))

    async def aside(self, work: Callable[[Any], Any], adapter: str | None = None) -> Any:
        """Something else done with the model, on the engine's thread. Raises QueueFullError."""
        named = {} if adapter is None else {"adapter": adapter}
        return await asyncio.wrap_future(self.engine.aside(lambda: work(self.engine.model), **named))

    async def ids_of(self, prompt: Any, name: str = "prompt") -> list[int]:
        """A text's ids, or ids as given. What is written in a text never becomes a control token."""
        async with self.encoding:
            return await asyncio.to_thread(self._ids_of, prompt, name)

    def _ids_of(self, prompt: Any, name: str) -> list[int]:
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
            prompt = prompt[0]
        if isinstance(prompt, str) and prompt:
            begin = self.tokenizer.encode("")
            ids: list[int] = self.encoder.ids_of([[piece([said(prompt)])]])[0].tolist()
            return [*(begin if begin == [self.encoder.bos_id] else []), *ids]
        given = token_ids(prompt, self.vocabulary)
        if given:
            return list(given)
        raise RefusedError(f"`{name}` must be one text, or one list of token ids", name)

    def ask(self, ask: Ask) -> Arrivals:
        """Hand it to the engine. Raises PromptTooLongError and QueueFullError."""
        arrivals = Arrivals(self.engine, ask.prompt, ask.settings, self.tally, ask.seen)
        self.open.add(arrivals)
        return arrivals

    def cut(self) -> None:
        """End the answers that are still being written: the server stops."""
        for arrivals in self.open:
            arrivals.fail(RefusedError("the server is being stopped", status=503, code="closing"))

    async def whole(self, ask: Ask, arrivals: Arrivals) -> dict[str, Any]:
        """The answer in one piece."""
        answers = self._answers(ask)
        async for place, news in arrivals:
            answers[place].delta(news)
        choices = [one.choice(place) for place, one in enumerate(answers)]
        kind = "chat.completion" if ask.chat else "text_completion"
        return self._head(ask, kind) | {"choices": choices, "usage": _usage(ask, answers)}

    async def stream(self, ask: Ask, arrivals: Arrivals) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        answers = self._answers(ask)
        head = self._head(ask, "chat.completion.chunk" if ask.chat else "text_completion")
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

    async def _encoded(self, encoder: Encoder, conversation: Conversation) -> tuple[list[int], Any]:
        """The ids of a prompt, and what the engine is given beside them for its pictures."""
        shown = encoder.shown(conversation)
        async with self.encoding:  # an encoder remembers texts; one thread at a time
            prompt = await asyncio.to_thread(encoder.prompt, shown)
        return prompt, await self.gallery.seen(encoder, shown, prompt) if shown is not conversation else None

    async def _check(self, settings: Settings, param: str) -> None:
        grammars = self.engine.grammars
        try:
            await asyncio.to_thread(grammars.check, settings.grammar, settings.stop_ids)
        except GrammarError as error:
            raise RefusedError(error.faults[0].what, param) from None

    def _answers(self, ask: Ask) -> list[Any]:
        if not ask.chat:
            return [self._continuation(ask) for _ in range(max(len(ask.settings), 1))]
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

    def _continuation(self, ask: Ask) -> Continuation:
        found = Continuation(self.tokenizer, logprobs=ask.logprobs)
        if ask.echo is not None and not ask.stream:
            found.echo(ask.echo, ask.prompt, ask.told)
        if not ask.settings:
            found.finish = "length"
        return found

    def _head(self, ask: Ask, kind: str) -> dict[str, Any]:
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
