"""Tokens with their origins: the stage encodes numbers instead of ids, and the numbers tell where each token was.

So cutting, masking and joining are the stage's own, and nothing of them is written down a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hone.data.preview.spans import CALL, TEMPLATE, TOOLS, Span, expected, kind_at, spans_of
from hone.data.stage import Limits, StageEncoding
from hone.dialogue.derived import Derived
from hone.dialogue.example import IGNORED, TokenIds
from hone.dialogue.message import Conversation
from hone.dialogue.render import CardWriter
from hone.dialogue.sight import repeated, shown_in
from hone.dialogue.slots import Inked, Piece

Turns = list[tuple[TokenIds, TokenIds]]
BROKEN = "\ufffd"
"""What a tokenizer shows for bytes that are no letter."""
LONGEST_RUN = 16
"""Tokens that may share letters; a letter has at most four bytes."""


class Token(NamedTuple):
    """One token: its id, its text, what it is part of, whether it is learned, and why not where one might ask."""

    id: int
    text: str
    kind: str
    learned: bool
    why: str


class Origin(NamedTuple):
    """A token as the renderer wrote it: `target` if it belongs to an answer."""

    id: int
    kind: str
    target: bool
    last: bool
    learn: bool | None


def inked(record: Any, stage: StageEncoding, encoder: Any, limits: Limits) -> list[Token]:
    """The tokens of a record as the stage encodes it."""
    numbering = Numbering(encoder)
    numbered = stage.encode([record], numbering, limits)[0].example
    real = stage.encode([record], encoder, limits)[0].example
    origins = [numbering.origins[number] for number in numbered.input_ids.tolist()]
    ids = [origin.id for origin in origins]
    assert ids == real.input_ids.tolist(), "a token was written in two ways"
    labels = real.labels.tolist()
    ends = _ends(origins)
    tokens = [
        _token(origin, label, encoder, limits, ends=end)
        for origin, label, end in zip(origins, labels, ends, strict=True)
    ]
    return _whole_letters(tokens, lambda run: encoder.tokenizer.decode(run, skip_special_tokens=False))


def _whole_letters(tokens: list[Token], decode: Callable[[list[int]], str]) -> list[Token]:
    """Where a letter lies across tokens, the first of them shows it and the others show nothing."""
    shown: list[Token] = []
    while len(shown) < len(tokens):
        run = _run_of(tokens[len(shown) : len(shown) + LONGEST_RUN], decode)
        text = run[0].text if len(run) == 1 else decode([token.id for token in run])
        shown += [run[0]._replace(text=text), *(token._replace(text="") for token in run[1:])]
    return shown


def _run_of(tokens: list[Token], decode: Callable[[list[int]], str]) -> list[Token]:
    """The fewest first tokens that spell whole letters; one alone where none do."""
    if BROKEN not in tokens[0].text:
        return tokens[:1]
    ends = (end for end in range(2, len(tokens) + 1) if BROKEN not in decode([t.id for t in tokens[:end]]))
    return tokens[: next(ends, 1)]


def _ends(origins: Sequence[Origin]) -> list[bool]:
    """Which tokens the template puts behind an answer."""
    ends: list[bool] = []
    behind = True
    for origin in reversed(origins):
        behind = not origin.target or (behind and origin.kind == TEMPLATE)
        ends.append(origin.target and behind)
    return ends[::-1]


def _token(origin: Origin, label: int, encoder: Any, limits: Limits, *, ends: bool) -> Token:
    learned = label != IGNORED
    text = encoder.tokenizer.decode([origin.id], skip_special_tokens=False)
    return Token(origin.id, text, origin.kind, learned, _why(origin, learned, limits, ends))


def _why(origin: Origin, learned: bool, limits: Limits, ends: bool) -> str:
    if learned:
        return "the end of the answer" if ends else "learned"
    if not origin.target:
        return "given"
    if origin.learn is False:
        return "marked as not to be learned"
    if limits.mask_history and not origin.last:
        return "history masked"
    return "given"


class Numbering:
    """An encoder whose ids are numbers of `origins`; made for one record."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._writer = encoder.template if isinstance(encoder.template, Derived) else CardWriter(encoder.template)
        self.origins: list[Origin] = []
        self.template = encoder.template
        self.tokenizer = encoder.tokenizer
        self.efficient_eos = encoder.efficient_eos
        self.eos_id = self._control(encoder.eos_id, target=True)
        self.bos_id = self._control(encoder.bos_id, target=False)
        self.pad_id = None
        self.viewer = encoder.viewer
        self.shown = encoder.shown

    def turns_batch(self, conversations: Sequence[Conversation], *, mask_history: bool = False) -> list[Turns]:
        """As the encoder's own."""
        made = [
            self._numbered(one, self._writer.turns(one, mask_history=mask_history), first=0) for one in conversations
        ]
        return [
            repeated(turns, shown, self.sees) if (shown := shown_in(one)) else turns
            for turns, one in zip(made, conversations, strict=True)
        ]

    def sees(self, numbers: TokenIds) -> NDArray[np.bool_]:
        """As the encoder's own, of the tokens that the numbers stand for."""
        seen: NDArray[np.bool_] = self._encoder.sees(np.array([self.origins[n].id for n in numbers], dtype=np.int32))
        return seen

    def answers_batch(self, conversations: Sequence[Conversation]) -> Turns:
        """As the encoder's own; everything before the last answer is given."""
        made = []
        for one in conversations:
            turns = self._numbered(one, [self._writer.answer(one)], first=None)
            made += repeated(turns, shown, self.sees) if (shown := shown_in(one)) else turns
        return made

    def document(self, text: str) -> list[int]:
        """As the encoder's own."""
        return self._add([Origin(token, "text", True, True, None) for token in self._encoder.document(text)])

    def _numbered(self, conversation: Conversation, turns: Sequence[Any], *, first: int | None) -> Turns:
        answers = [message for message in conversation.messages if message.role == "assistant"]
        made: Turns = []
        for place, turn in enumerate(turns):
            whole = _everything(conversation, self.template) if first is None else None
            source, target = whole or expected(conversation, place, default_system=self.template.default_system)
            last = place == len(turns) - 1
            learn = answers[-1 if first is None else place].learn if answers else None
            made.append(
                (
                    self._pieces(turn.source, spans_of(turn.source, source, foreign=TOOLS), False, last, learn),
                    self._pieces(turn.target, spans_of(turn.target, target, foreign=CALL), True, last, learn),
                )
            )
        return made

    def _pieces(
        self, pieces: Sequence[Inked], spans: Sequence[list[Span]], target: bool, last: bool, learn: bool | None
    ) -> TokenIds:
        numbers: list[int] = []
        for made, where in zip(pieces, spans, strict=True):
            ids = self._encoder.ids_of([[made]])[0].tolist()
            kinds = self._kinds(made, ids, where)
            numbers += self._add([Origin(*both, target, last, learn) for both in zip(ids, kinds, strict=True)])
        return np.array(numbers, dtype=np.int32)

    def _kinds(self, made: Inked, ids: list[int], spans: list[Span]) -> list[str]:
        if not isinstance(made, Piece):
            return [TEMPLATE] * len(ids)
        return [kind_at(spans, place) for place in self._places(made.text, ids)]

    def _places(self, text: str, ids: list[int]) -> list[int]:
        """The first letter of each token that is not white space, or its first letter."""
        made = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        if made["input_ids"] == ids:
            return [_first_letter(text, begin, end) for begin, end in made["offset_mapping"]]
        starts = [len(self.tokenizer.decode(ids[:place], skip_special_tokens=False)) for place in range(len(ids))]
        return [_first_letter(text, start, end) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]

    def _control(self, token: int | None, *, target: bool) -> int | None:
        return None if token is None else self._add([Origin(token, TEMPLATE, target, True, None)])[0]

    def _add(self, origins: list[Origin]) -> list[int]:
        start = len(self.origins)
        self.origins += origins
        return list(range(start, len(self.origins)))


def _first_letter(text: str, begin: int, end: int) -> int:
    return next((place for place in range(begin, end) if not text[place].isspace()), begin)


def _everything(conversation: Conversation, template: Any) -> tuple[list[Any], list[Any]]:
    """What stands before the last answer, and that answer."""
    turns = (len(conversation.messages) - (conversation.system is not None) + 1) // 2
    before: list[Any] = []
    target: list[Any] = []
    for place in range(turns):
        source, target = expected(conversation, place, default_system=template.default_system)
        before += source + (target if place < turns - 1 else [])
    return before, target
