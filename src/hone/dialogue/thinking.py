"""Thoughts in and out of an answer: which a reasoning family keeps, in training and in a prompt's history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hone.dialogue.message import Message, Part, Text, Thought
from hone.dialogue.template import Template, Words


def thinks(message: Message, words: Words) -> bool:
    """Whether an answer holds a thought, or one of the thought words written as text (an unfinished thought)."""
    marks = [word.strip() for word in words.thought]
    return any(
        isinstance(part, Thought) or (isinstance(part, Text) and any(mark in part.text for mark in marks))
        for part in message.parts
    )


def without_thought(message: Message) -> Message:
    """The answer alone: thoughts removed, then the newlines that led it."""
    kept = [part for part in message.parts if not isinstance(part, Thought)]
    return replace(message, parts=tuple(_unled(kept)))


def _unled(parts: Sequence[Part]) -> list[Part]:
    """The parts without the newlines that the first of them begins with."""
    if parts and isinstance(parts[0], Text):
        stripped = parts[0].text.lstrip("\n")
        return [*([Text(stripped)] if stripped else []), *parts[1:]]
    return list(parts)


def for_prompting(template: Template, message: Message, *, last: bool) -> Message:
    """An answer of the one-turn encoding: history loses its thoughts unless they are preserved."""
    thinking = template.thinking
    if thinking is None:
        return message
    stripped = thinking.enable is False if last else not thinking.preserve
    return without_thought(message) if stripped else message


def for_training(template: Template, message: Message, *, last: bool, mask_history: bool) -> Message:
    """An answer of the multi-turn encoding: every turn is learned, so thoughts stay, unless the history is masked."""
    if template.thinking is not None and not mask_history:
        return without_thought(message) if template.thinking.enable is False else message
    return for_prompting(template, message, last=last)
