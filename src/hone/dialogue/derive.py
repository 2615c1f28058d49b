"""When no template is named: one derived from the tokenizer's own chat template, proven on probes or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hone.dialogue.control import control_entries
from hone.dialogue.derive_tools import with_tools
from hone.dialogue.derived import Derived
from hone.dialogue.jinja import LEARNED, compile_template
from hone.dialogue.message import Conversation, Message, Text
from hone.dialogue.shield import Shield
from hone.dialogue.slots import Hole, Inked, Piece
from hone.dialogue.template import GENERIC, Thinking, Words
from hone.errors import HoneError, ModelError

ASKED, ANSWERED, THOUGHT = "Qprobe1", "Aprobe1", "Tprobe1"


def derive_template(tokenizer: Any) -> Derived:
    """The template that the tokenizer's chat template amounts to.

    Raises `ModelError`: TEMPLATE-JINJA for what is no template or leaves its bounds, TEMPLATE-UNDERIVABLE with the
    reason where questions are lost or reordered, a prompt is not how its answer's text begins, or no end is learned.
    """
    source = chat_template_of(tokenizer)
    tokens = ("bos_token", "eos_token", "pad_token", "unk_token")
    words = [entry.content for entry in control_entries(tokenizer, source).values()]
    bare = Derived(
        name="derived",
        source=source,
        variables=tuple((name, token) for name in tokens if isinstance(token := getattr(tokenizer, name, None), str)),
        render=compile_template(source),
        shield=Shield(words),
        thinking=Thinking("") if "enable_thinking" in source else None,
        tools=None,
    )
    made = with_tools(_with_thoughts(_with_end(bare, words)))
    _prove(made)
    return made


def chat_template_of(tokenizer: Any) -> str:
    """The tokenizer's chat template; the default one where it has several. Raises `ModelError` if it has none."""
    source = getattr(tokenizer, "chat_template", None)
    if isinstance(source, dict):
        source = source.get("default")
    if not isinstance(source, str) or not source.strip():
        raise ModelError.one(
            "TEMPLATE-UNDERIVABLE", "the tokenizer has no chat template", "template", "name a template"
        )
    return source


def _with_end(bare: Derived, words: list[str]) -> Derived:
    """Find the words that end every answer, and those that stand before it."""
    asked = [{"role": "user", "content": ASKED}]
    prompt = bare.text(asked, prompting=True)
    whole = _unmarked(bare.text([*asked, {"role": "assistant", "content": ANSWERED}]))
    if not whole.startswith(prompt):
        raise _underivable("a prompt is not how the text of the answered question begins")
    before, found, end = whole[len(prompt) :].partition(ANSWERED)
    stop = next(iter(re.findall("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)), end)), "")
    if not found or not stop:
        raise _underivable("no control token ends an answer, so a model could not learn to stop")
    slot = (Hole(re.sub(r"<think>.*</think>\s*", "", before, flags=re.DOTALL), end),)
    return replace(bare, end=end, stop=(stop,), assistant=slot, call=slot)


def _with_thoughts(made: Derived) -> Derived:
    """Find out how a thought is handed over: in a field of its own, or between words in the answer."""
    asked = [{"role": "user", "content": ASKED}]
    start, end = GENERIC.thought
    ways: list[tuple[Any, dict[str, str]]] = [
        ("field", {"content": ANSWERED, "reasoning_content": THOUGHT}),
        ("inline", {"content": f"{start}{THOUGHT}{end}{ANSWERED}"}),
    ]
    for way, message in ways:
        whole = _unmarked(made.text([*asked, {"role": "assistant", **message}]))
        prompt = made.text(asked, prompting=True)
        opened, found, rest = whole[len(prompt) :].partition(THOUGHT)
        closed, answered, _ = rest.partition(ANSWERED)
        given = re.search(r"<[^<>]*think[^<>]*>\s*$", prompt)
        if found and answered and closed.strip():
            words = ((given[0] if given and not opened.strip() else "") + opened or start, closed)
            return replace(made, thoughts=way, words=Words(words, GENERIC.call))
    return made


def _prove(template: Derived) -> None:
    """Hold the template against conversations: nothing lost or reordered, prompts as in training, twice the same."""
    texts = ["Qprobe1 é你好", "Aprobe1 <b>", "Qprobe2\n\nline", "Aprobe2", "Qprobe3", "Aprobe3"]
    roles = ("user", "assistant")
    messages = [Message(roles[place % 2], (Text(text),)) for place, text in enumerate(texts)]  # type: ignore[arg-type]
    for length in (2, 4, 6):
        conversation = Conversation(tuple(messages[:length]))
        try:
            turns = template.turns(conversation)
            again = template.turns(conversation)
            prompt = template.prompt(Conversation(conversation.messages[:-1]))
        except HoneError as error:
            raise _underivable(error.faults[0].what) from error
        flat = "".join(_text(side) for turn in turns for side in turn)
        places = [flat.find(text) for text in texts[:length]]
        if -1 in places or places != sorted(places) or any(flat.count(text) != 1 for text in texts[:length]):
            raise _underivable("messages are left out, repeated or put in another order")
        if any(template.stop[0] not in _text(turn.target) for turn in turns):
            raise _underivable("what is marked as learned leaves out the word that ends an answer")
        if turns != again:
            raise _underivable("it does not write the same conversation the same way twice")
        if prompt != template.answer(conversation).source:
            raise _underivable("the prompt that asks is not the text that is trained")


def _text(pieces: Sequence[Inked]) -> str:
    return "".join(made.text for made in pieces if isinstance(made, Piece))


def _unmarked(text: str) -> str:
    return text.replace(LEARNED[0], "").replace(LEARNED[1], "")


def _underivable(why: str) -> ModelError:
    return ModelError(
        *ModelError.one(
            "TEMPLATE-UNDERIVABLE",
            f"no template can be derived exactly from the tokenizer's chat template: {why}",
            "template",
            "name one with template=…",
        ).faults
    )
