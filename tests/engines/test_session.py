"""A session: what was said goes in as ids, and comes out as thought and text, streamed or whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hone.dialogue.encoder import Encoder
from hone.dialogue.message import Conversation, Message, Text, Thought
from hone.dialogue.template import load_template
from hone.engines.base import Piece, Settings
from hone.engines.session import Session

ASKED = Conversation((Message("user", (Text("Is it?"),)),))


class Reciter:
    """An engine that always says the same text, a few characters at a time."""

    context = None

    def __init__(self, tokenizer: Any, text: str) -> None:
        self.ids = tokenizer.encode(text, add_special_tokens=False)
        self.tokenizer = tokenizer

    def generate(self, prompt: Sequence[int], settings: Settings, seen: Any = None) -> Iterator[Piece]:
        for number, token in enumerate(self.ids):
            yield Piece((token,), self.tokenizer.decode([token]), "stop" if number == len(self.ids) - 1 else None)


@pytest.fixture
def tokenizer(tiny_model: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model("llama"))


def test_a_reply_streams_its_parts_and_is_then_whole(tokenizer: Any) -> None:
    encoder = Encoder(load_template("qwen3"), tokenizer)
    session = Session(Reciter(tokenizer, "<think>\nhm\n</think>\n\nYes, so it is."), encoder)
    reply = session.say(ASKED, Settings())
    parts = list(reply)
    assert "".join(part.text for part in parts if isinstance(part, Thought)) == "hm"
    assert "".join(part.text for part in parts if isinstance(part, Text)) == "Yes, so it is."
    assert reply.message == Message("assistant", (Thought("hm"), Text("Yes, so it is.")))
    assert (reply.finish, reply.prompt_tokens) == ("stop", len(encoder.prompt(ASKED)))


def test_what_follows_a_prompt_that_opens_a_thought_is_thought(tokenizer: Any) -> None:
    class Opened(Encoder):
        def prompt(self, conversation: Conversation) -> list[int]:
            return [*super().prompt(conversation), *tokenizer.encode("<think>\n", add_special_tokens=False)]

    session = Session(Reciter(tokenizer, "hm\n</think>\n\nYes."), Opened(load_template("qwen3"), tokenizer))
    reply = session.say(ASKED, Settings())
    assert [type(part) for part in (*reply, *reply.message.parts)][-2:] == [Thought, Text]
    assert reply.message.text == "Yes."
