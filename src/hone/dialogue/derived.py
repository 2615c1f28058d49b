"""A template made from a tokenizer's own chat template: it renders with that, and finds out where the answers stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from hone.dialogue.jinja import LEARNED
from hone.dialogue.message import Conversation, Message, Text, Thought, ToolCall
from hone.dialogue.render import Turn
from hone.dialogue.shield import Shield
from hone.dialogue.slots import Inked
from hone.dialogue.template import Template
from hone.errors import DataError, ModelError

Render = Callable[[Mapping[str, Any]], str]


class Cut(NamedTuple):
    """Where an answer begins and ends in a rendered text."""

    begin: int
    end: int


class Calling(NamedTuple):
    """How calls are handed over: arguments as a table or as JSON text, what `content` is beside a call without words,
    whether words beside a call are written, and whether the template looks at ids and names."""

    as_text: bool = False
    silent: str | None = ""
    speaks: bool = True
    ids: bool = False


@dataclass(frozen=True)
class Derived(Template):
    """A template whose wording is Jinja. `end` ends every answer; `thoughts` is how a thought is handed over.

    `calling` is how calls are, None where they cannot be, and `no_calls` says why; `describes` is whether the tools on
    offer are written.
    """

    source: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    end: str = ""
    thoughts: Literal["field", "inline", "none"] = "none"
    calling: Calling | None = None
    no_calls: str = "the chat template writes no tool calls"
    describes: bool = False
    render: Render = field(default=lambda _: "", repr=False, compare=False)
    shield: Shield = field(default_factory=lambda: Shield(()), repr=False, compare=False)

    def turns(self, conversation: Conversation, *, mask_history: bool = False) -> list[Turn]:
        """One turn for each answer, as the whole conversation is rendered; `mask_history` changes nothing here."""
        text, cuts = self._cut(conversation)
        begins = [0, *(cut.end for cut in cuts[:-1])]
        return [
            Turn(self._pieces(text[begin : cut.begin]), self._pieces(text[cut.begin : cut.end]))
            for begin, cut in zip(begins, cuts, strict=True)
        ]

    def answer(self, conversation: Conversation) -> Turn:
        """Everything before the last answer, cut as in training, and that answer."""
        turns = self.turns(conversation)
        before = [made for turn in turns[:-1] for side in turn for made in side]
        return Turn([*before, *turns[-1].source], turns[-1].target)

    def prompt(self, conversation: Conversation) -> list[Inked]:
        """What is to be continued, cut as in training."""
        if conversation.messages and conversation.messages[-1].role == "assistant":
            return self.answer(conversation).source
        text, cuts = self._cut(conversation, prompting=True)
        edges = [0, *(edge for cut in cuts for edge in cut), len(text)]
        return [made for begin, end in pairwise(edges) for made in self._pieces(text[begin:end])]

    def fingerprint(self) -> str:
        """A hash of the chat template and the options."""
        thinking = self.thinking and (self.thinking.enable, self.thinking.preserve)
        return hashlib.sha256(repr((self.source, self.variables, self.default_system, thinking)).encode()).hexdigest()[
            :16
        ]

    def text(self, messages: Sequence[Mapping[str, Any]], tools: Any = None, *, prompting: bool = False) -> str:
        """What the chat template makes of messages in the field's common form."""
        given: dict[str, Any] = {"messages": messages, "tools": tools, "add_generation_prompt": prompting}
        if self.thinking is not None and self.thinking.enable is not None:
            given["enable_thinking"] = self.thinking.enable
        return self.render({**dict(self.variables), **given})

    def _pieces(self, text: str) -> list[Inked]:
        return [self.shield.piece(text)] if text else []

    def _cut(self, conversation: Conversation, *, prompting: bool = False) -> tuple[str, list[Cut]]:
        """The rendered conversation and its answers' places. Raises `DataError` where they cannot be told exactly."""
        if conversation.tools and not self.describes:
            raise _unwritten("the chat template leaves out the tools on offer")
        messages = self._messages(conversation)
        tools = self.shield.cover(list(conversation.tools)) or None
        try:
            marked = self.text(messages, tools, prompting=prompting)
            answers = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
            if LEARNED[0] in marked:
                return _marked_cuts(marked, len(answers))
            return marked, [self._find(marked, messages, tools, place) for place in answers]
        except ModelError as error:
            raise DataError.one(
                "DATA-TEMPLATE", f"the chat template cannot write this conversation: {error}"
            ) from error

    def _find(self, text: str, messages: list[dict[str, Any]], tools: Any, place: int) -> Cut:
        """The place of one answer: after what its prompt would be, up to what ends it."""
        asked = self.text(messages[:place], tools, prompting=True)
        last = place == len(messages) - 1
        begin = len(asked) if text.startswith(asked) else self._history_begin(text, asked, last)
        alone = self.text(messages[: place + 1], tools)
        if text.startswith(alone):
            return Cut(begin, len(alone))
        end = text.find(self.end, begin)
        if last or end < 0 or not alone.endswith(self.end):
            raise _inexact("an answer's end cannot be told from what follows it")
        return Cut(begin, end + len(self.end))

    def _history_begin(self, text: str, asked: str, last: bool) -> int:
        """An earlier answer may be written without the thought that its prompt opened; nothing else may differ."""
        shared = next((place for place, (a, b) in enumerate(zip(text, asked, strict=False)) if a != b), len(text))
        opened = asked[shared:]
        thought = self.words.thought[0]
        kept = asked.removesuffix(thought) if opened and thought.strip() and asked.endswith(thought) else ""
        if last or not kept or not text.startswith(kept):
            raise _inexact("a prompt is not what the whole conversation begins with")
        return len(kept)

    def _messages(self, conversation: Conversation) -> list[dict[str, Any]]:
        messages = [self._message(said) for message in conversation.messages for said in _apart(message)]
        if self.default_system and conversation.system is None:
            messages.insert(0, {"role": "system", "content": self.default_system})
        if self.calling is not None and self.calling.ids:
            _link(messages)
        return messages

    def _message(self, message: Message) -> dict[str, Any]:
        """A message in the field's common form, its control words covered."""
        made: dict[str, Any] = {"role": message.role, "content": self.shield.cover(message.text)}
        thought = "".join(part.text for part in message.parts if isinstance(part, Thought))
        if any(isinstance(part, Thought) for part in message.parts):
            self._add_thought(made, self.shield.cover(thought))
        if message.calls:
            self._add_calls(made, message)
        unknown = [part for part in message.parts if not isinstance(part, Text | Thought) and part not in message.calls]
        if unknown:
            raise _unwritten("the chat template writes no media")
        return made

    def _add_calls(self, made: dict[str, Any], message: Message) -> None:
        if self.calling is None:
            raise _unwritten(self.no_calls)
        if message.text.strip() and not self.calling.speaks:
            raise _unwritten("the chat template leaves out what is said beside a call")
        made["content"] = made["content"] or self.calling.silent
        made["tool_calls"] = [self._call(call, self.calling) for call in message.calls]

    def _add_thought(self, made: dict[str, Any], thought: str) -> None:
        if self.thoughts == "none":
            raise _unwritten("the chat template leaves thoughts out")
        if self.thoughts == "field":
            made["reasoning_content"] = thought
        else:
            start, end = self.words.thought
            made["content"] = start + thought + end + made["content"]

    def _call(self, call: ToolCall, calling: Calling) -> dict[str, Any]:
        arguments = json.dumps(call.arguments, ensure_ascii=False) if calling.as_text else call.arguments
        function = {"name": self.shield.cover(call.name), "arguments": self.shield.cover(arguments)}
        return {"type": "function", "function": function, **({"id": call.id} if calling.ids else {})}


def _link(messages: list[dict[str, Any]]) -> None:
    """Give calls without an id one, and results the id and the name of their call."""
    waiting: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool" and waiting:
            call = waiting.pop(0)
            message |= {"tool_call_id": call["id"], "name": call["function"]["name"]}
        elif message["role"] == "assistant":
            waiting = message.get("tool_calls", [])[:]
            for place, call in enumerate(waiting):
                call["id"] = call["id"] or f"call{place:05d}"


def _apart(message: Message) -> list[Message]:
    """A message of several results as the messages that chat templates know, one a result."""
    return [replace(message, parts=parts) for parts in message.results]


def _marked_cuts(marked: str, answers: int) -> tuple[str, list[Cut]]:
    """The text without its marks, and the places between them."""
    start, end = LEARNED
    text, cuts = "", []
    for chunk in marked.split(start)[:-1]:
        text += chunk.replace(end, "")
        cuts.append(len(text))
    pieces = marked.split(start)
    whole = "".join(pieces).replace(end, "")
    ends = [begin + piece.find(end) for begin, piece in zip(cuts, pieces[1:], strict=True) if end in piece]
    if len(cuts) != answers or len(ends) != answers:
        raise _inexact(f"{len(cuts)} parts are marked as learned, {answers} answers were given")
    return whole, [Cut(begin, stop) for begin, stop in zip(cuts, ends, strict=True)]


def _unwritten(what: str) -> DataError:
    return DataError(*DataError.one("DATA-TEMPLATE", what, fix="name a template").faults)


def _inexact(why: str) -> DataError:
    return DataError(
        *DataError.one(
            "DATA-TEMPLATE", f"the chat template cannot be used exactly: {why}", fix="name a template"
        ).faults
    )
