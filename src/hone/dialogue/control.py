"""Control tokens: which words of a vocabulary steer the model, and how text from outside is kept from becoming one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from hone.dialogue.borders import Borders
from hone.dialogue.plain import Encode, plain_encoder
from hone.dialogue.pretokens import Packed, asked, packed
from hone.dialogue.slots import Mark, Piece, literals
from hone.dialogue.template import Template
from hone.dialogue.words import Words

_BLANK = re.compile(r"[\s▁]+")
_TAG = re.compile(r"</?[a-z][a-z0-9]*>")
"""Added tokens that are vocabulary and no control words: white space, and bare HTML tags that the card does not write
(Gemma has many of both)."""


class ControlTokens:
    """The control tokens of one tokenizer under one card, and the two ways to tokenise a piece."""

    def __init__(self, tokenizer: Any, entries: Mapping[int, Any]) -> None:
        """`entries`: id → the tokenizer's description of an added token."""
        ids = {entry.content: number for number, entry in entries.items()}
        self.swallow_after = [entry.content for entry in entries.values() if entry.rstrip]
        self.swallow_before = [entry.content for entry in entries.values() if entry.lstrip]
        self._tokenizer = tokenizer
        self._backend = getattr(tokenizer, "_tokenizer", None) or getattr(tokenizer, "backend_tokenizer", None)
        self.ids = ids
        self._pattern = _trie_pattern(ids)
        self._signal = (
            re.compile("[" + "".join(re.escape(c) for c in sorted({word[0] for word in ids})) + "]") if ids else None
        )
        self._edges: dict[str, bool] = {}

    @classmethod
    def of(cls, template: Template, tokenizer: Any) -> ControlTokens:
        """Every added token of the tokenizer, save those that are ordinary vocabulary which the card never writes."""
        return cls(tokenizer, control_entries(tokenizer, "\n".join(_written(template))))

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Every token by name."""
        return self._tokenizer.get_vocab()

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the tokenizer's content."""
        content = self._backend.to_str() if self._backend is not None else json.dumps(sorted(self.vocabulary.items()))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def is_clean(self, made: Piece) -> bool:
        """Whether tokenising the piece as it stands makes no control token but the card's own."""
        if self._signal is None:
            return True
        for run in made.runs:
            if run.own:
                if len(made.runs) > 1 and not self._edge_is_safe(run.text) and self._strays(made):
                    return False
            elif self._signal.search(run.text) and self._strays(made):
                return False
        return True

    def signals(self, text: str) -> bool:
        """Whether a control token could begin in the text."""
        return self._signal is not None and self._signal.search(text) is not None

    def edges_are_safe(self, made: Piece) -> bool:
        """Whether no control token could begin in what the card writes of the piece and end in a text beside it, or
        the other way round."""
        return len(made.runs) == 1 or all(self._edge_is_safe(run.text) for run in made.runs if run.own)

    def _edge_is_safe(self, text: str) -> bool:
        """Whether no control token could begin in the card's text and end in what follows, or the other way round."""
        safe = self._edges.get(text)
        if safe is None:
            safe = self._edges[text] = not any(
                text.endswith(word[:cut]) or text.startswith(word[cut:])
                for word in self.ids
                for cut in range(1, len(word))
            )
        return safe

    def _strays(self, made: Piece) -> bool:
        """Whether a control token stands in the joined text where the card did not put it."""
        return [found.span() for found in self._pattern.finditer(made.text)] != self._own_spans(made)

    def _own_spans(self, made: Piece) -> list[tuple[int, int]]:
        spans, start = [], 0
        for run in made.runs:
            if run.own:
                spans += [(start + found.start(), start + found.end()) for found in self._pattern.finditer(run.text)]
            start += len(run.text)
        return spans

    def encode_batch(self, texts: Sequence[str]) -> list[Packed]:
        """Plain tokenisation of each text."""
        if not texts:
            return []
        if self._words is not None:
            return self._words.encode(texts)
        if self._backend is not None:
            return asked(self._backend, texts)
        return [packed(self._tokenizer.encode(text, add_special_tokens=False)) for text in texts]

    @cached_property
    def _words(self) -> Words | None:
        return Words.of(self._backend) if self._backend is not None else None

    @cached_property
    def borders(self) -> Borders | None:
        """Where pieces may be cut before they are tokenised; None for a tokenizer of which that is not known."""
        if self._words is None or self._backend is None:
            return None
        return Borders(token.content for token in self._backend.get_added_tokens_decoder().values())

    def encode_guarded(self, made: Piece) -> list[int]:
        """The piece with the card's own control tokens placed by id, and everything else as plain text."""
        ids: list[int] = []
        start = 0
        for begin, end in self._own_spans(made):
            ids += self._plain_ids(made.text, start, begin)
            ids.append(self.ids[made.text[begin:end]])
            start = end
        return ids + self._plain_ids(made.text, start, len(made.text))

    def _plain_ids(self, text: str, begin: int, end: int) -> list[int]:
        """Text between two control tokens, less the white space that those swallow."""
        section = text[begin:end]
        if any(text.endswith(word, 0, begin) for word in self.swallow_after):
            section = section.lstrip()
        if any(text.startswith(word, end) for word in self.swallow_before):
            section = section.rstrip()
        return self._plain(section, begin == 0) if section else []

    @cached_property
    def _plain(self) -> Encode:
        return plain_encoder(self._tokenizer, self._backend, self.ids)


def control_entries(tokenizer: Any, written: str) -> dict[int, Any]:
    """The added tokens that steer the model, by id; `written` is all that the card writes."""
    entries = tokenizer.added_tokens_decoder.items()
    return {number: entry for number, entry in entries if entry.special or _steers(entry.content, written)}


def _steers(word: str, written: str) -> bool:
    return not _BLANK.fullmatch(word) and (word in written or not _TAG.fullmatch(word))


def _written(template: Template) -> Iterable[str]:
    """All text that a card itself can write."""
    for slot in (template.prefix, template.system, template.user, template.assistant, template.call, template.result):
        yield from literals(slot)
        yield from (mark.token for mark in slot if isinstance(mark, Mark) and mark.token)
    yield from (*template.words.thought, *template.words.call, template.words.results, *template.stop)
    yield from (token for _, token in template.media.tokens)


def _trie_pattern(words: Iterable[str]) -> re.Pattern[str]:
    """One expression that finds the leftmost, longest of many words, whatever their number."""
    root: dict[str, Any] = {}
    for word in words:
        node = root
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}
    return re.compile(_branches(root) if root else r"(?!)")


def _branches(node: dict[str, Any]) -> str:
    """The rest of every word that goes on from here, longer ones first."""
    ways = [re.escape(letter) + _branches(rest) for letter, rest in sorted(node.items()) if letter]
    if not ways:
        return ""
    joined = ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"
    return f"(?:{joined})?" if "" in node else joined
