"""The parser: what a model wrote becomes thought, text and tool calls, whole or as it comes, and no text is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hone.dialogue.message import Message, Part, Text, Thought, ToolCall
from hone.dialogue.slots import Hole, Slot
from hone.dialogue.template import Template
from hone.dialogue.tools import dialect


def parse(template: Template, text: str, *, inside_thought: bool = False) -> Message:
    """A model's whole answer as a message. `inside_thought`: the prompt already opened the thought."""
    parser = StreamParser(template, inside_thought=inside_thought)
    return Message("assistant", joined_parts([*parser.feed(text), *parser.close()]))


def joined_parts(pieces: Iterable[Part]) -> tuple[Part, ...]:
    """The pieces of a stream as parts: neighbouring texts, and neighbouring thoughts, become one."""
    parts: list[Part] = []
    for piece in pieces:
        last = parts[-1] if parts else None
        if isinstance(piece, Text) and isinstance(last, Text):
            parts[-1] = Text(last.text + piece.text)
        elif isinstance(piece, Thought) and isinstance(last, Thought):
            parts[-1] = Thought(last.text + piece.text)
        else:
            parts.append(piece)
    return tuple(parts)


class StreamParser:
    """Give it a model's text as it comes; it gives back what is certain.

    A thought is read where it leads the answer. Text is held back only while it may be a control word or a call, and
    calls are given at the end, when they are whole. What turns out to be no call is given as text. However the text is
    cut into feeds, the pieces join to the same parts.
    """

    def __init__(self, template: Template, *, inside_thought: bool = False) -> None:
        self._lead = lead_of(template.assistant)
        self._thought = ThoughtWords(template)
        self._calls = CallReader(template)
        self._held = ""
        self._ended = False
        self._said = False
        self._out: list[Part] = []
        self._stage: Callable[[], bool] = self._thinking_lead if inside_thought else self._start

    def feed(self, text: str) -> list[Part]:
        """Take some more text; give the pieces that are certain by now."""
        self._held += text
        while self._stage():
            pass
        out, self._out = self._out, []
        return out

    def close(self) -> list[Part]:
        """The answer is over: give the rest."""
        self._ended = True
        return self.feed("")

    # Each stage does what it can with the held text and says whether another stage can go on at once.

    def _start(self) -> bool:
        """Does the answer lead with a thought, after the slot's own words and white space?"""
        held = self._held
        lead = next((word for word in (self._lead, self._calls.lead) if word and held.startswith(word)), "")
        begun = held[len(lead) :].lstrip()
        if begun.startswith(self._thought.start):
            self._lead = "" if lead == self._lead else self._lead
            return self._go(self._thinking_lead, begun[len(self._thought.start) :])
        if self._thought.bare_end and begun.startswith(self._thought.end):
            return self._go(self._after_thought, begun[len(self._thought.end) :])
        words = [self._thought.start, self._calls.lead, *([self._thought.end] if self._thought.bare_end else [])]
        if not self._ended and any(word.startswith(begun) for word in words if word):
            return False
        return self._go(self._answer_lead, held)

    def _thinking_lead(self) -> bool:
        return self._eat(self._thought.lead, self._thinking)

    def _thinking(self) -> bool:
        """Inside a thought, up to the word that ends it."""
        end = self._held.find(self._thought.end)
        if end < 0 and not self._ended:
            self._give(Thought, len(self._held) - _pending(self._held, (self._thought.whole_end, self._thought.end)))
            return False
        body = self._held if end < 0 else self._held[:end].removesuffix(self._thought.tail)
        rest = "" if end < 0 else self._held[end + len(self._thought.end) :]
        self._out.append(Thought(body))
        return self._go(self._after_thought, rest)

    def _after_thought(self) -> bool:
        """The white space that belongs to the thought's last word, as much of it as is there."""
        while self._thought.trail and self._held.startswith(self._thought.trail[0]):
            self._thought.trail = self._thought.trail[1:]
            self._held = self._held[1:]
        if not self._held and self._thought.trail and not self._ended:
            return False
        return self._go(self._answer_lead, self._held)

    def _answer_lead(self) -> bool:
        return self._eat(self._lead, self._maybe_call)

    def _maybe_call(self) -> bool:
        """Some dialects' calls are the whole text: hold it while it may be one."""
        if not self._calls.may_be_whole(self._held):
            return self._go(self._text, self._held)
        return self._finish() if self._ended else False

    def _text(self) -> bool:
        """Plain text, up to a word with which calls begin; white space alone before a call is no text."""
        begin = self._calls.begin(self._held)
        blank = not self._said and not self._held[: begin if begin >= 0 else None].strip()
        if begin >= 0:
            self._give(Text, 0 if blank else begin)
            return self._go(self._calling, self._held)
        if self._ended or not blank:
            self._give(Text, len(self._held) - (0 if self._ended else _pending(self._held, self._calls.marks)))
        return False

    def _calling(self) -> bool:
        return self._finish() if self._ended else False

    def _finish(self) -> bool:
        """What was held may be calls; if not, it is text after all."""
        found = self._calls.read(self._held) or ([Text(self._held)] if self._held else [])
        self._out += found
        return self._go(self._text, "")

    def _eat(self, word: str, then: Callable[[], bool]) -> bool:
        """Leave out a word of the slot's own, if it is there."""
        if not self._ended and len(self._held) < len(word) and word.startswith(self._held):
            return False
        return self._go(then, self._held.removeprefix(word))

    def _give(self, kind: type[Text] | type[Thought], length: int) -> None:
        if length:
            self._out.append(kind(self._held[:length]))
            self._said = self._said or kind is Text
        self._held = self._held[length:]

    def _go(self, stage: Callable[[], bool], held: str) -> bool:
        self._stage, self._held = stage, held
        return True


class ThoughtWords:
    """A family's thought words, taken apart into the words themselves and the white space around them."""

    def __init__(self, template: Template) -> None:
        opened, closed = template.words.thought
        self.start, self.end = opened.strip(), closed.strip()
        self.lead = opened[opened.index(self.start) + len(self.start) :]
        self.tail, self.trail = closed.split(self.end)
        self.whole_end = self.tail + self.end
        self.bare_end = template.thinking is not None and template.thinking.empty == closed


class CallReader:
    """Where calls begin in a family's answers, and what they are."""

    def __init__(self, template: Template) -> None:
        self._dialect = dialect(template.calls)
        lead = lead_of(template.call).strip()
        self.lead = "" if lead == lead_of(template.assistant).strip() else lead
        self._tail = tail_of(template.call).strip()
        words = (*((self.lead,) if self.lead else ()), *self._dialect.MARKS)
        self.marks = (*words, *(f"\n{word}" for word in words if self._dialect.LEAD))

    def begin(self, text: str) -> int:
        """Where the first word that begins calls stands; -1 if there is none."""
        return min((place for place in (text.find(mark) for mark in self.marks) if place >= 0), default=-1)

    def may_be_whole(self, text: str) -> bool:
        """Whether the text, as far as it is written, may be a call from its first letter."""
        return self._dialect.may_be_call(text)

    def read(self, held: str) -> Sequence[Text | ToolCall] | None:
        """The calls in text that begins with one, the slot's own words left out."""
        inner = held.lstrip().removeprefix(self.lead)
        return self._dialect.read(inner.removesuffix(self._tail) if self._tail else inner)


def lead_of(slot: Slot) -> str:
    """The card's own text before the hole, back to the last token placed by id."""
    before = ""
    for part in slot:
        if isinstance(part, Hole) and part.after is not None:
            return before + part.before
        before = before + part.before if isinstance(part, Hole) else ""
    return ""


def tail_of(slot: Slot) -> str:
    """The card's own text right after the hole."""
    return next((part.after for part in slot if isinstance(part, Hole) and part.after is not None), "") or ""


def _pending(text: str, words: Iterable[str]) -> int:
    """How many of the last letters may be the beginning of one of the words."""
    lengths = (
        length
        for word in words
        for length in range(min(len(word) - 1, len(text)), 0, -1)
        if text.endswith(word[:length])
    )
    return max(lengths, default=0)
