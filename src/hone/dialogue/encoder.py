"""The encoder: pieces become token ids, fast, and text from outside never becomes a control token."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hone.dialogue.control import ControlTokens
from hone.dialogue.derived import Derived
from hone.dialogue.example import TokenIds
from hone.dialogue.fix_tokenizer import fix_tokenizer as fix_tokenizer
from hone.dialogue.forms import Forms, Section
from hone.dialogue.message import Conversation
from hone.dialogue.pretokens import Packed, packed
from hone.dialogue.render import CardWriter
from hone.dialogue.sight import Sides, Viewer, repeated, shown_in
from hone.dialogue.slots import BOS, Inked, Mark, piece, said
from hone.dialogue.template import Template
from hone.errors import ModelError

MEMORY = 8192
"""How many short texts the encoder remembers."""
SHORT = 4096
"""Letters of those."""


class Tokenizer(Protocol):
    """What Hone needs of a Hugging Face tokenizer."""

    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None
    added_tokens_decoder: dict[int, Any]

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]: ...

    def convert_tokens_to_ids(self, tokens: str) -> int: ...

    def get_vocab(self) -> dict[str, int]: ...


class Encoder:
    """One template with one tokenizer. Make it after `fix_tokenizer`; the tokenizer must not change afterwards."""

    def __init__(self, template: Template, tokenizer: Tokenizer) -> None:
        self.template = template
        self._writer = template if isinstance(template, Derived) else CardWriter(template)
        self.tokenizer = tokenizer
        self.control = ControlTokens.of(template, tokenizer)
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id
        self.pad_id: int | None = tokenizer.pad_token_id
        self.efficient_eos = template.efficient_eos
        self.viewer: Viewer | None = None
        self.stop_ids = self._stops()
        self._known: dict[str, Packed] = {}
        self._turns: Mapping[bool, Forms] = {}
        self._answer: Forms | None = None
        if not isinstance(template, Derived):  # of which a program decides what is written
            marks = [word.strip() for word in template.words.thought] if template.thinking else []
            what = (self.control, self._mark, marks)
            self._turns = {one: Forms(partial(self._written, mask_history=one), *what) for one in (True, False)}
            self._answer = Forms(self._writer.answer, *what)

    def seeing(self, viewer: Viewer) -> Encoder:
        """The same encoder, which also writes media as the tokens that a model sees in their place."""
        other = copy.copy(self)
        other.viewer = viewer
        return other

    def shown(self, conversation: Conversation) -> Conversation:
        """The conversation with its media measured and written as tokens. Raises DataError where one cannot be."""
        return conversation if self.viewer is None else self.viewer.shown(conversation)

    def sees(self, ids: TokenIds) -> NDArray[np.bool_]:
        """Which of these tokens stand for a piece of a medium."""
        return np.isin(ids, self.viewer.ids if self.viewer is not None else ())

    def turns(self, conversation: Conversation, *, mask_history: bool = False) -> list[tuple[list[int], list[int]]]:
        """(source ids, target ids) for each turn: the multi-turn training form."""
        turns = self.turns_batch([conversation], mask_history=mask_history)[0]
        return [(source.tolist(), target.tolist()) for source, target in turns]

    def turns_batch(self, conversations: Sequence[Conversation], *, mask_history: bool = False) -> list[list[Sides]]:
        """`turns` of many conversations, as arrays: all their pieces are tokenised in one call."""
        forms = self._turns.get(mask_history)
        cut = [
            (forms and forms.sides(one)) or self._cut(self._written(one, mask_history=mask_history))
            for one in conversations
        ]
        ids = iter(self._ids([side for sides in cut for side in sides]))
        made = [[(next(ids), next(ids)) for _ in sides[::2]] for sides in cut]
        return [
            repeated(turns, shown, self.sees) if (shown := shown_in(one)) else turns
            for turns, one in zip(made, conversations, strict=True)
        ]

    def answer(self, conversation: Conversation) -> tuple[list[int], list[int]]:
        """(prompt ids, answer ids) of the last answer: the one-turn form, for preference, prediction and the like."""
        source, target = self.answers_batch([conversation])[0]
        return source.tolist(), target.tolist()

    def answers_batch(self, conversations: Sequence[Conversation]) -> list[Sides]:
        """`answer` of many conversations, as arrays."""
        cut = [
            (self._answer and self._answer.sides(one)) or self._cut(self._writer.answer(one)) for one in conversations
        ]
        ids = iter(self._ids([side for sides in cut for side in sides]))
        made = [(next(ids), next(ids)) for _ in cut]
        return [
            repeated([sides], shown, self.sees)[0] if (shown := shown_in(one)) else sides
            for sides, one in zip(made, conversations, strict=True)
        ]

    def prompt(self, conversation: Conversation) -> list[int]:
        """The ids that a model is asked to continue."""
        ids = self.ids_of([self._writer.prompt(conversation)])[0]
        shown = shown_in(conversation)
        if shown:
            ids = repeated([(ids, ids[:0])], shown, self.sees)[0][0]
        asked: list[int] = ids.tolist()
        return asked

    def document(self, text: str) -> list[int]:
        """Plain text and the end of it, for pre-training."""
        ids = self.ids_of([[piece([said(text)])]])[0].tolist()
        end = self.template.document_end
        end_id = self.control.vocabulary.get(end) if end else None
        last = end_id if end_id is not None else self.eos_id
        return ids if last is None else [*ids, last]

    def fingerprint(self) -> str:
        """A hash of the template, its options, and the tokenizer's content."""
        parts = [self.template.fingerprint(), self.control.fingerprint]
        if self.viewer is not None:
            parts.append(self.viewer.fingerprint())
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    def _stops(self) -> tuple[int, ...]:
        ids = [self.eos_id, *(self.control.ids.get(word) for word in self.template.stop)]
        return tuple(sorted({token for token in ids if token is not None}))

    def ids_of(self, sides: Sequence[Sequence[Inked]]) -> list[TokenIds]:
        """The ids of each list of pieces; all that is not yet known is tokenised in one call."""
        return self._ids(self._cut(sides))

    def _written(self, conversation: Conversation, *, mask_history: bool = False) -> list[Sequence[Inked]]:
        return [side for turn in self._writer.turns(conversation, mask_history=mask_history) for side in turn]

    def _cut(self, sides: Sequence[Sequence[Inked]]) -> list[list[Section]]:
        return [[part for made in side for part in self._parts(made)] for side in sides]

    def _ids(self, cut: Sequence[Sequence[Section]]) -> list[TokenIds]:
        known = self._learned({part: None for parts in cut for part in parts if isinstance(part, str)})
        return [
            np.frombuffer(b"".join([known[part] if isinstance(part, str) else part for part in parts]), dtype=np.int32)
            for parts in cut
        ]

    def _parts(self, made: Inked) -> Iterable[Section]:
        """Texts to be tokenised, each alone, and ids where a piece needs care."""
        if isinstance(made, Mark):
            return [packed(self._mark(made))]
        if not self.control.is_clean(made):
            return [packed(self.control.encode_guarded(made))]
        borders = self.control.borders
        return borders.sections(made) if borders is not None else [made.text]

    def _learned(self, texts: Collection[str]) -> Mapping[str, Packed]:
        """The ids of every text; those of short ones are remembered."""
        if len(self._known) > MEMORY:
            self._known = {}
        known = self._known
        fresh = [text for text in texts if text not in known]
        made = dict(zip(fresh, self.control.encode_batch(fresh), strict=True))
        known.update((text, ids) for text, ids in made.items() if len(text) <= SHORT)
        return {text: made[text] if text in made else known[text] for text in texts}

    def _mark(self, mark: Mark) -> list[int]:
        if mark.role:
            token = self.bos_id if mark.role == BOS else self.eos_id
            return [] if token is None else [token]
        if mark.token not in self.control.vocabulary:
            raise ModelError.one(
                "TEMPLATE-TOKEN", f"the tokenizer has no token `{mark.token}`", f"template {self.template.name}"
            )
        return [self.control.vocabulary[mark.token]]
