"""A conversation in, message pieces out: the encoder's ids to the engine, and its text read back as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hone.dialogue.encoder import Encoder
from hone.dialogue.message import Conversation, Message, Part
from hone.dialogue.parse import StreamParser, parse
from hone.dialogue.sight import shown_in
from hone.engines.base import Engine, Finish, Settings, UnknownAdapterError
from hone.errors import RecipeError

Load = Callable[[str, Path], Encoder]
"""Loads an adapter by name from a folder; the encoder that it was taught with."""


class Reply:
    """An answer being written. Iterate once for its pieces (text, thought, tool calls); the rest is true afterwards.

    `message` is what was said so far, read as a whole; `finish` is None until the answer ended by itself.
    """

    def __init__(self, engine: Engine, encoder: Encoder, conversation: Conversation, settings: Settings) -> None:
        self.encoder = encoder
        self.text = ""
        self.tokens = 0
        self.finish: Finish | None = None
        shown = encoder.shown(conversation)
        prompt = encoder.prompt(shown)
        seen = seen_in(encoder, shown, prompt)
        self.inside_thought = opens_thought(encoder, prompt)
        self.prompt_tokens = len(prompt)
        self._pieces = engine.generate(prompt, settings, seen)

    def __iter__(self) -> Iterator[Part]:
        parser = StreamParser(self.encoder.template, inside_thought=self.inside_thought)
        for piece in self._pieces:
            self.text += piece.text
            self.tokens += len(piece.ids)
            self.finish = piece.finish
            yield from parser.feed(piece.text)
        yield from parser.close()

    @property
    def message(self) -> Message:
        """The answer as a message of the conversation."""
        return parse(self.encoder.template, self.text, inside_thought=self.inside_thought)


def seen_in(encoder: Encoder, shown: Conversation, prompt: list[int]) -> Any:
    """The pictures of a conversation and of the prompt it became (`hone.engines.seen.Seen`), None where it has none.

    Raises DataError for a picture that cannot be decoded.
    """
    media = [one.medium for one in shown_in(shown)]
    if not media or encoder.viewer is None:
        return None
    import numpy as np

    from hone.engines.seen import Seen

    return Seen.of(encoder.viewer.seen(np.array(prompt, dtype=np.int32), np.array([len(prompt)]), media))


def opens_thought(encoder: Encoder, prompt: list[int]) -> bool:
    """Whether the prompt ends with the word that begins a thought, as some families' prompts do."""
    word = encoder.template.words.thought[0].strip()
    tokenizer: Any = encoder.tokenizer
    return bool(encoder.template.thinking and word) and tokenizer.decode(prompt[-16:]).rstrip().endswith(word)


class Session:
    """An engine and the encoder its model was taught with; `encoders` holds that of each adapter with a name."""

    def __init__(self, engine: Engine, encoder: Encoder, *, load: Load | None = None) -> None:
        self.engine = engine
        self.encoder = encoder
        self.encoders: dict[str, Encoder] = {}
        self.by_name = False
        """Whether any adapter ever had a name: from then on a name that is none is not taken for the model's."""
        self._load = load

    def say(self, conversation: Conversation, settings: Settings) -> Reply:
        """The answer to a conversation. Raises PromptTooLongError at once, DataError for roles out of turn."""
        return Reply(self.engine, self.encoder_of(settings.adapter), conversation, settings)

    def encoder_of(self, adapter: str | None) -> Encoder:
        """How an adapter, or the model itself, is spoken to. Raises UnknownAdapterError."""
        found = self.encoder if adapter is None else self.encoders.get(adapter)
        if found is None:
            raise UnknownAdapterError.one("ADAPTER-NAME", f"no adapter {adapter!r} is loaded", "", "load it first")
        return found

    def blindness(self, adapter: str | None = None) -> str:
        """Why no pictures can be shown to an adapter, or to the model itself; empty where they can."""
        viewer = self.encoder_of(adapter).viewer
        if viewer is None or not viewer.ids:
            return str(getattr(viewer, "reason", "this model reads text alone"))
        return "" if self.engine.sees else "this engine answers to text alone"

    def load_adapter(self, name: str, folder: Path) -> None:
        """Answer with it whoever asks for this name. Raises ModelError, RecipeError, QueueFullError."""
        if self._load is None:
            raise RecipeError.one("ENGINE-ADAPTERS", "adapters cannot be loaded by name here")
        self.encoders[name] = self._load(name, folder)
        self.by_name = True

    def unload_adapter(self, name: str) -> None:
        """Requests under way go on with it. Raises UnknownAdapterError, QueueFullError."""
        engine: Any = self.engine
        self.encoder_of(name)
        engine.adapters.unload(name)
        del self.encoders[name]
