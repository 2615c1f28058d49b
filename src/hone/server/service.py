"""The model that is served: who answers, what texts are in its tokens, and handing work to its engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

from hone.dialogue.encoder import Encoder
from hone.dialogue.message import Conversation
from hone.dialogue.slots import piece, said
from hone.engines.base import Settings
from hone.engines.session import Session
from hone.models.value_head import value_head
from hone.server.arrivals import Arrivals
from hone.server.fields import Body, token_ids
from hone.server.pictures import Gallery
from hone.server.refusal import RefusedError
from hone.server.sources import Sources
from hone.server.tally import Tally


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

    def submit(self, prompt: Sequence[int], settings: Sequence[Settings], seen: Any = None) -> Arrivals:
        """Hand it to the engine. Raises PromptTooLongError and QueueFullError."""
        arrivals = Arrivals(self.engine, prompt, settings, self.tally, seen)
        self.open.add(arrivals)
        return arrivals

    async def encoded(self, encoder: Encoder, conversation: Conversation) -> tuple[list[int], Any]:
        """The ids of a prompt, and what the engine is given beside them for its pictures."""
        shown = encoder.shown(conversation)
        async with self.encoding:  # an encoder remembers texts; one thread at a time
            prompt = await asyncio.to_thread(encoder.prompt, shown)
        return prompt, await self.gallery.seen(encoder, shown, prompt) if shown is not conversation else None

    def cut(self) -> None:
        """End the answers that are still being written: the server stops."""
        for arrivals in self.open:
            arrivals.fail(RefusedError("the server is being stopped", status=503, code="closing"))
