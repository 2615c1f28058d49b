"""What is kept of grammars and their tokenizers is bounded, and what was forgotten is made again."""

from __future__ import annotations

import pytest

from hone.engines.grammar import ENDS, KEPT, GrammarError, Grammars, grammar_of_schema
from hone.models.embedded import embedded_model

pytest.importorskip("llguidance")
ANYTHING = grammar_of_schema({"type": "object"})


@pytest.fixture
def grammars() -> Grammars:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_model())
    return Grammars(tokenizer, len(tokenizer))


def test_requests_that_name_ever_other_ends_fill_no_memory(grammars: Grammars) -> None:
    for token in range(100, 100 + ENDS + 2):
        grammars.check(ANYTHING, (2, token))
    assert len(grammars.known) == ENDS
    assert {ends for _, ends in grammars.ready} <= set(grammars.known)
    assert not grammars.guide(ANYTHING, (2, 100), "").done


def test_the_ends_that_are_asked_for_stay(grammars: Grammars) -> None:
    usual = grammars._words((2,))
    for token in range(100, 100 + ENDS + 1):
        grammars.check(ANYTHING, (2, token))
        grammars.check(ANYTHING, (2,))
    assert grammars._words((2,)) is usual


def test_ends_are_the_same_in_any_order(grammars: Grammars) -> None:
    for stop_ids in ((2, 5), (5, 2), (2, 5, 5), (2, 5, grammars.vocabulary)):
        grammars.check(ANYTHING, stop_ids)
    assert list(grammars.known) == [(2, 5)] and len(grammars.ready) == 1


def test_few_grammars_are_kept_ready(grammars: Grammars) -> None:
    made = [grammar_of_schema({"const": number}) for number in range(KEPT + 3)]
    for one in made:
        grammars.check(one, (2,))
    assert [grammar for grammar, _ in grammars.ready] == made[3:]


def test_a_grammar_that_cannot_be_followed_is_not_kept(grammars: Grammars) -> None:
    with pytest.raises(GrammarError):
        grammars.check("no grammar", (2,))
    assert not grammars.ready
