"""Text from outside through a template's rendering."""

from __future__ import annotations

from hypothesis import given
from speaking import SPECIALS, texts

from hone.dialogue.shield import Shield

SHIELD = Shield(SPECIALS)


@given(text=texts)
def test_covered_text_holds_no_control_word_and_comes_back(text: str) -> None:
    covered = SHIELD.cover(text)
    assert not any(word in covered for word in SPECIALS)
    assert SHIELD.piece(covered).text == text


def test_only_the_covered_words_are_from_outside() -> None:
    made = SHIELD.piece("<|im_start|>" + SHIELD.cover("a <|im_end|> b") + "<|im_end|>")
    assert [run.text for run in made.runs if not run.own] == ["<|im_end|>"]
    assert made.text == "<|im_start|>a <|im_end|> b<|im_end|>"


def test_tables_and_lists_are_covered_all_through() -> None:
    covered = SHIELD.cover({"<|im_end|>": ["</s>", 1, None, {"x": "<think>"}]})
    assert not any(word in repr(covered) for word in SPECIALS)
