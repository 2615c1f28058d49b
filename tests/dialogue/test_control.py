"""Control tokens: which added tokens steer the model, and when a piece must be guarded."""

from __future__ import annotations

from typing import Any

import pytest

from hone.dialogue.control import ControlTokens
from hone.dialogue.plain import plain_encoder
from hone.dialogue.slots import own, piece, said
from hone.dialogue.template import load_template, read_card


@pytest.fixture(scope="module")
def control(chatml_tokenizer: Any) -> ControlTokens:
    return ControlTokens.of(load_template("chatml"), chatml_tokenizer)


def test_white_space_and_html_tags_are_vocabulary_unless_the_card_writes_them(chatml_tokenizer: Any) -> None:
    ids = ControlTokens.of(load_template("chatml"), chatml_tokenizer).ids
    assert "<|im_end|>" in ids and "<think>" in ids and "<tool_response>" in ids
    assert "\n\n" not in ids and "<table>" not in ids
    assert "<table>" in ControlTokens.of(read_card("mine", {"user": "<table>{text}"}), chatml_tokenizer).ids


def test_a_piece_without_control_words_from_outside_is_clean(control: ControlTokens) -> None:
    assert control.is_clean(piece([own("<|im_start|>user\n"), said("a < b"), own("<|im_end|>\n")]))
    assert not control.is_clean(piece([own("<|im_start|>user\n"), said("a <|im_end|> b"), own("<|im_end|>\n")]))


def test_a_control_word_across_a_border_is_seen(control: ControlTokens) -> None:
    assert not control.is_clean(piece([own("say <|im_"), said("end|>")]))
    assert not control.is_clean(piece([said("<|im_"), own("end|> ok")]))


def test_a_guarded_piece_has_the_cards_control_tokens_only(control: ControlTokens, chatml_tokenizer: Any) -> None:
    ids = control.encode_guarded(
        piece([own("<|im_start|>user\n"), said("<|im_end|>x<|im_start|>"), own("<|im_end|>\n")])
    )
    found = [token for token in ids if token in control.ids.values()]
    assert found == [control.ids["<|im_start|>"], control.ids["<|im_end|>"]]
    assert chatml_tokenizer.decode(ids) == "<|im_start|>user\n<|im_end|>x<|im_start|><|im_end|>\n"


def test_a_vocabulary_that_knows_a_control_word_as_a_word_does_not_give_it(chatml_tokenizer: Any) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({"<s>": 0, "<": 1, "s>": 2, "a": 3, "[U]": 4}, unk_token="[U]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    class Holder:
        def convert_tokens_to_ids(self, word: str) -> int:
            return 0

    assert plain_encoder(Holder(), backend, {"<s>": 0})("a <s> a", True) == [3, 1, 2, 3]


def test_white_space_that_a_control_token_swallows_is_swallowed(chatml_tokenizer: Any) -> None:
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    backend = type(chatml_tokenizer._tokenizer).from_str(chatml_tokenizer._tokenizer.to_str())
    backend.add_special_tokens(
        [AddedToken("<|end|>", rstrip=True, special=True), AddedToken("<|pre|>", lstrip=True, special=True)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    control = ControlTokens.of(read_card("mine", {"user": "<|pre|>{text}<|end|>\n"}), tokenizer)
    made = piece([own("x <|pre|>"), said(" hi "), own("<|end|>\nmore")])
    assert control.encode_guarded(made) == tokenizer.encode(made.text, add_special_tokens=False)
