"""What a card writes around the texts of a conversation: found once for all plain ones in which the same roles speak.

Most conversations are nothing but texts that take turns. What stands around those, and where it may be cut, depends on
the roles alone; so it is rendered for one of them, and the others are put into the same form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hone.dialogue.control import ControlTokens
from hone.dialogue.message import Conversation, Message, Text
from hone.dialogue.pretokens import Packed, packed
from hone.dialogue.slots import Inked, Mark, Run
from hone.dialogue.words import is_blank

MOST = 64
"""Messages above which a conversation is rendered by itself: forms as long are not worth their room."""
KEPT = 4096
"""Forms that are kept at most: who asks a server chooses the roles."""

Section = str | Packed
"""A text to be tokenised alone, or ids."""
Write = Callable[[Conversation], Sequence[Sequence[Inked]]]
"""A conversation as sides: what is given and what is answered, in turns."""
_Mixed = tuple[str | int, ...]
"""A section of what the card writes, and of texts by their number."""
Form = tuple[tuple[Packed | int | _Mixed, ...], ...]
"""For each side its sections: ids, the number of a text that stands alone, or both in one."""


class Forms:
    """The forms of one card with one tokenizer, of the kind that `write` gives."""

    def __init__(
        self, write: Write, control: ControlTokens, ids_of: Callable[[Mark], list[int]], apart: Sequence[str] = ()
    ) -> None:
        """`ids_of`: what a mark stands for. The card must write texts as they are, whatever they say, save those in
        which one of the words `apart` stands."""
        self._write = write
        self._apart = tuple(apart)
        self._control = control
        self._ids_of = ids_of
        self._known: dict[tuple[str, ...], Form | None] = {}

    def sides(self, conversation: Conversation) -> list[list[Section]] | None:
        """The sections of each side; None for a conversation that must be rendered by itself.

        Raises DataError where the roles are such that it cannot be written down.
        """
        texts = [] if conversation.tools or len(conversation.messages) > MOST else self._texts(conversation)
        if not texts:
            return None
        roles = tuple([message.role for message in conversation.messages])
        if roles not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[roles] = self._form(conversation)
        form = self._known[roles]
        return None if form is None else [[_filled(section, texts) for section in side] for side in form]

    def _texts(self, conversation: Conversation) -> list[str]:
        """What each message says, if it is one text that only stands where it is put; else nothing."""
        texts = []
        for message in conversation.messages:
            part = message.parts[0] if len(message.parts) == 1 else None
            if not isinstance(part, Text) or not self._is_plain(part.text):
                return []
            texts.append(part.text)
        return texts

    def _is_plain(self, text: str) -> bool:
        """Whether the text could neither be nor begin a control token, and does not begin with white space, before
        which a piece may not be cut."""
        if not text or is_blank(text[0]) or self._control.signals(text):
            return False
        return not self._apart or not any(word in text for word in self._apart)

    def _form(self, conversation: Conversation) -> Form | None:
        borders = self._control.borders
        texts = [f"text number {number} of them" for number in range(len(conversation.messages))]
        said = zip(conversation.messages, texts, strict=True)
        probe = Conversation(tuple([Message(one.role, (Text(text),)) for one, text in said]))
        sides = []
        for side in self._write(probe):
            sections: list[Packed | int | _Mixed] = []
            for made in side:
                if isinstance(made, Mark):
                    sections.append(packed(self._ids_of(made)))
                    continue
                if borders is None or not self._control.edges_are_safe(made):
                    return None
                sections += [self._section(runs, texts) for runs in borders.grouped(made.runs)]
            sides.append(tuple(sections))
        found = [one for side in sides for section in side for one in _numbers(section)]
        return tuple(sides) if sorted(found) == [*range(len(texts))] else None

    def _section(self, runs: Sequence[Run], texts: Sequence[str]) -> Packed | int | _Mixed:
        mixed = tuple([texts.index(run.text) if run.text in texts else run.text for run in runs])
        if len(mixed) == 1 and isinstance(mixed[0], int):
            return mixed[0]
        if any(isinstance(one, int) for one in mixed):
            return mixed
        return self._control.encode_batch(["".join(map(str, mixed))])[0]


def _numbers(section: Packed | int | _Mixed) -> list[int]:
    held = section if isinstance(section, tuple) else (section,)
    return [one for one in held if isinstance(one, int)]


def _filled(section: Packed | int | _Mixed, texts: Sequence[str]) -> Section:
    if isinstance(section, int):
        return texts[section]
    if isinstance(section, bytes):
        return section
    return "".join([texts[one] if isinstance(one, int) else one for one in section])
