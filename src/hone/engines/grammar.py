"""Answers that must follow a grammar: which tokens may come next, told by llguidance."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hone.errors import MachineError, RecipeError

LARGEST = 1 << 16
"""Letters of a grammar at most."""
KEPT = 16
"""Grammars that are kept ready: making one takes up to a second."""
ENDS = 4
"""Sets of tokens that end an answer for which a tokenizer is kept: 35 MB and half a second each with 49,000 words, and
a request may name its own."""
STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line: a model cannot fill its answer with spaces."""


class GrammarError(RecipeError):
    """The schema or grammar cannot be followed."""


def grammar_of_schema(schema: Mapping[str, Any]) -> str:
    """The grammar of the JSON texts that a schema allows."""
    return _library().LLMatcher.grammar_from_json_schema(json.dumps({**schema, "x-guidance": STYLE}))


def grammar_of_calls(shapes: list[tuple[str, Mapping[str, Any], str]]) -> str:
    """The grammar of one call out of several: for each the text before its arguments, their schema, the text after."""
    rules = [f"start: {' | '.join(f'call{place}' for place in range(len(shapes)))}"]
    for place, (before, schema, after) in enumerate(shapes):
        arguments = json.dumps({**schema, "x-guidance": STYLE})
        rules.append(f"call{place}: {_literal(before)} arguments{place} {_literal(after)}")
        rules.append(f"arguments{place}: %json {arguments}")
    return _library().LLMatcher.grammar_from_lark("\n".join(rules) + "\n")


class Grammars:
    """What llguidance must know of a tokenizer; made when it is first asked for, and shared by all requests."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self.tokenizer, self.vocabulary = tokenizer, vocabulary
        self.known: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self.ready: OrderedDict[tuple[str, tuple[int, ...]], Any] = OrderedDict()
        self.making, self.keeping = threading.Lock(), threading.Lock()

    def check(self, grammar: str, stop_ids: tuple[int, ...]) -> None:
        """Raises GrammarError for what cannot be followed, MachineError where llguidance is not installed."""
        if len(grammar) > LARGEST:
            raise GrammarError.one("GRAMMAR", f"the schema is longer than {LARGEST} letters")
        self._begun(grammar, stop_ids)

    def guide(self, grammar: str, stop_ids: tuple[int, ...], after: str) -> Guide:
        """What guides one answer; with `after` it begins when the answer has said these words. Raises as `check`.

        Quick for a grammar that was checked a moment ago.
        """
        return Guide(self._begun(grammar, stop_ids), self.tokenizer, after)

    def _begun(self, grammar: str, stop_ids: tuple[int, ...]) -> Any:
        """A matcher at the beginning of its grammar; one that allows nothing at all is refused."""
        ends = self._ends(stop_ids)
        with self.keeping:
            kept = self.ready.get((grammar, ends))
            if ends in self.known:
                self.known.move_to_end(ends)
        if kept is None:
            kept = _library().LLMatcher(self._words(ends), grammar, log_level=0)
            first = kept.deep_copy()
            first.compute_logit_bias()
            _refuse_failed(first)
        with self.keeping:
            _keep(self.ready, (grammar, ends), kept, KEPT)
            for name in [name for name in self.ready if name[1] not in self.known]:
                del self.ready[name]
            return kept.deep_copy()

    def _ends(self, stop_ids: tuple[int, ...]) -> tuple[int, ...]:
        """The tokens that may end an answer, each once."""
        ends = [token for token in stop_ids if token < self.vocabulary] or [self.tokenizer.eos_token_id]
        return tuple(sorted(set(ends)))

    def _words(self, ends: tuple[int, ...]) -> Any:
        with self.making:
            words = self.known.get(ends)
            if words is None:
                text = self.tokenizer.backend_tokenizer.to_str()
                count = max(self.vocabulary, len(self.tokenizer))
                words = _library().LLTokenizer(text, n_vocab=count, eos_token=list(ends))
            with self.keeping:
                _keep(self.known, ends, words, ENDS)
            return words


class Guide:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: Any, tokenizer: Any, after: str) -> None:
        self.matcher, self.tokenizer, self.after = matcher, tokenizer, after
        self.said: list[int] = []

    @property
    def done(self) -> bool:
        """Whether the answer is complete and nothing may follow."""
        return not self.after and bool(self.matcher.is_stopped()) and not self.matcher.is_error()

    def narrow(self, logits: Tensor) -> Tensor:
        """The logits [vocabulary], with those that may not come now at minus infinity.

        Raises GrammarError where the grammar turns out to be more than can be followed.
        """
        if self.after:
            return logits
        allowed = torch.frombuffer(bytearray(self.matcher.compute_logit_bias()), dtype=torch.uint8)[: len(logits)]
        _refuse_failed(self.matcher)
        return logits.masked_fill((allowed == 0).to(logits.device), -torch.inf)

    def took(self, token: int) -> None:
        """A token was chosen."""
        if not self.after:
            self.matcher.consume_token(token)
            return
        self.said = [*self.said, token][-16:]
        if self.after in self.tokenizer.decode(self.said):
            self.after = ""


def _keep(store: OrderedDict[Any, Any], name: Any, value: Any, most: int) -> None:
    """As the last of at most so many; whatever was not asked for longest goes."""
    store[name] = value
    store.move_to_end(name)
    while len(store) > most:
        store.popitem(last=False)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else '""'


def _refuse_failed(matcher: Any) -> None:
    if matcher.is_error():
        reason = " ".join(matcher.get_error().partition("<state>")[0].split())[:200]
        raise GrammarError.one("GRAMMAR", f"this schema cannot be followed ({reason})")


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        raise MachineError.one("EXTRA-WEB", "llguidance is not installed", fix="pip install 'hone-llm[web]'") from None
    return llguidance
