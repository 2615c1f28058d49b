"""The renderer: a conversation becomes turns of pieces, the same for training, prompting and every export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hone.dialogue.message import Conversation, Media, Message, NextResult, Part, Shown, Text, Thought, ToolCall
from hone.dialogue.slots import Inked, Piece, Run, fill, own, piece, said
from hone.dialogue.template import Template
from hone.dialogue.thinking import for_prompting, for_training, thinks
from hone.dialogue.tools import dialect
from hone.errors import DataError


class Turn(NamedTuple):
    """What is given (`source`) and what the model answers (`target`)."""

    source: list[Inked]
    target: list[Inked]


class Opening(NamedTuple):
    """The system text with the tools, as runs; None where nothing of the kind is written."""

    system: tuple[Run, ...] | None


def render_turns(template: Template, conversation: Conversation, *, mask_history: bool = False) -> list[Turn]:
    """The multi-turn training form: one turn for each answer. The conversation must end with an answer."""
    opening, messages = _opening(template, conversation)
    turns: list[Turn] = []
    for index in range(0, len(messages), 2):
        last = index + 2 >= len(messages)
        answer = for_training(template, messages[index + 1], last=last, mask_history=mask_history)
        turn = _turn(template, messages[index], answer, opening if index == 0 else None)
        opened = last or not mask_history or (template.thinking is not None and template.thinking.preserve)
        turns.append(_with_empty_thought(template, turn, answer) if opened else turn)
    return turns


def render_answer(template: Template, conversation: Conversation) -> Turn:
    """The one-turn form: everything before the last answer, and that answer."""
    opening, messages = _opening(template, conversation)
    given: list[Inked] = []
    for index in range(0, len(messages), 2):
        last = index + 2 >= len(messages)
        answer = for_prompting(template, messages[index + 1], last=last)
        turn = _turn(template, messages[index], answer, opening if index == 0 else None)
        if last:
            source, target = _with_empty_thought(template, turn, answer)
            return Turn([*given, *source], target)
        given += [*turn.source, *turn.target]
    raise DataError.one("DATA-ROLES", "a conversation without messages cannot be written down")


class CardWriter:
    """A card as the encoder wants it: what writes turns, an answer, and a prompt."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def turns(self, conversation: Conversation, *, mask_history: bool = False) -> list[Turn]:
        """The multi-turn training form."""
        return render_turns(self._template, conversation, mask_history=mask_history)

    def answer(self, conversation: Conversation) -> Turn:
        """The one-turn form."""
        return render_answer(self._template, conversation)

    def prompt(self, conversation: Conversation) -> list[Inked]:
        """The one-turn form with an answer still to come."""
        return render_prompt(self._template, conversation)


def render_prompt(template: Template, conversation: Conversation) -> list[Inked]:
    """What the model is asked to continue: the one-turn form with an answer still to come."""
    messages = conversation.messages
    if not messages or messages[-1].role != "assistant":
        messages = (*messages, Message("assistant", ()))
    return render_answer(template, Conversation(messages, conversation.tools)).source


def _opening(template: Template, conversation: Conversation) -> tuple[Opening, list[Message]]:
    """What stands before the first message, and the alternating messages after it."""
    given = conversation.system
    messages = list(conversation.messages[given is not None :])
    _check_order(messages)
    text = given or template.default_system
    runs: tuple[Run, ...] = (said(text),)
    if conversation.tools and template.tools is not None:
        tools = dialect(template.tools).describe(conversation.tools)
        runs = (*runs, *(_unled(tools) if template.trim_tools and not text else tools))
    empty = not text and not conversation.tools and given is None
    return Opening(None if empty else runs), messages


def _unled(runs: Sequence[Run]) -> tuple[Run, ...]:
    first = Run(runs[0].text.lstrip("\n"), runs[0].own)
    return (first, *runs[1:])


def _check_order(messages: list[Message]) -> None:
    for index, message in enumerate(messages):
        expected = ("assistant",) if index % 2 else ("user", "tool")
        if message.role not in expected:
            what = f"message {index + 1} is from {message.role}, {' or '.join(expected)} was expected"
            raise DataError.one("DATA-ROLES", what, fix="asked and answered messages must take turns")
    if len(messages) % 2:
        raise DataError.one("DATA-ROLES", "the conversation does not end with an answer")


def _turn(template: Template, asked: Message, answer: Message, opening: Opening | None) -> Turn:
    """One asked and one answered message; the first turn carries the prefix and the system text."""
    before: list[Inked] = []
    heard = _runs(template, asked.parts)
    if opening is not None:
        before += fill(template.prefix, ())
        if opening.system is not None and template.system_in_user:
            heard = (*_flat(fill(template.system, opening.system)), *heard)
        elif opening.system is not None:
            before += fill(template.system, opening.system)
    slot = template.result if asked.role == "tool" else template.user
    return Turn([*before, *fill(slot, heard)], _answer(template, answer))


def _flat(pieces: list[Inked]) -> tuple[Run, ...]:
    return tuple(run for made in pieces if isinstance(made, Piece) for run in made.runs)


def _answer(template: Template, answer: Message) -> list[Inked]:
    """An answer in its slot; calls follow whatever else was said."""
    spoken = _runs(template, [part for part in answer.parts if not isinstance(part, ToolCall)])
    if not answer.calls:
        return fill(template.assistant, spoken)
    return fill(template.call, (*spoken, *dialect(template.calls).write(answer.calls)))


def _runs(template: Template, parts: Sequence[Part]) -> tuple[Run, ...]:
    """Parts as text: thoughts and results between the family's words, media as placeholders or as they are shown."""
    runs: list[Run] = []
    for part in parts:
        if isinstance(part, Text):
            runs.append(said(part.text))
        elif isinstance(part, Thought):
            runs += _thought_runs(part, template.words.thought)
        elif isinstance(part, Media):
            runs.append(own(f"<{part.kind}>"))
        elif isinstance(part, Shown):
            runs.append(own(part.text))
        elif isinstance(part, NextResult):
            runs.append(own(template.words.results))
    return tuple(runs)


def _thought_runs(thought: Thought, words: tuple[str, str]) -> list[Run]:
    """A thought between the family's words, with the white space of the data where it used the same ones."""
    if thought.words is None:
        return [own(words[0]), said(thought.text), own(words[1])]
    if [word.strip() for word in thought.words] == [word.strip() for word in words]:
        return [own(thought.words[0]), said(thought.text), own(thought.words[1])]
    return [own(words[0]), said(thought.text.strip("\n")), own(words[1])]


def _with_empty_thought(template: Template, turn: Turn, answer: Message) -> Turn:
    """A reasoning family's answer without a thought gets an empty one: learned when thinking is on, given otherwise."""
    thinking = template.thinking
    if thinking is None or thinks(answer, template.words):
        return turn
    empty = piece([own(thinking.empty)])
    if thinking.enable:
        return Turn(turn.source, [empty, *turn.target])
    return Turn([*turn.source, empty], turn.target)
