"""Text from ids as they come: whole characters only, and in the end everything."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.engines.detokenize import Detokenizer

TEXTS = ["Hello, world", "你好,世界 😀👩‍👩‍👧", "naïve café — ½", "  spaces  and\n\n newlines\t", "", "�"]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model("llama"))


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_join_to_the_text_and_none_holds_half_a_character(tokenizer: Any, text: str) -> None:
    pieces, stream = [], Detokenizer(tokenizer)
    for token in tokenizer.encode(text, add_special_tokens=False):
        pieces.append(stream.feed([token]))
    assert text == "�" or all("�" not in piece for piece in pieces)
    assert "".join(pieces) + stream.close() == text


def test_bytes_that_are_no_text_are_shown_once_more_text_comes_or_at_the_end(tokenizer: Any) -> None:
    broken = tokenizer.encode("世", add_special_tokens=False)[:1]
    stream = Detokenizer(tokenizer)
    assert stream.feed(broken) == ""
    assert stream.feed(tokenizer.encode("a", add_special_tokens=False)).endswith("a")
    assert stream.feed(broken) == ""
    assert "�" in stream.close()


def test_random_ids_lose_nothing(tokenizer: Any) -> None:
    for seed in range(20):
        ids = random.Random(seed).choices(range(len(tokenizer)), k=60)
        stream = Detokenizer(tokenizer)
        text = "".join(stream.feed([token]) for token in ids) + stream.close()
        assert text == tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_special_tokens_are_shown_when_asked_for(tokenizer: Any) -> None:
    ids = [1, *tokenizer.encode("a", add_special_tokens=False), 2]
    shown = Detokenizer(tokenizer, skip_special_tokens=False)
    assert "".join(shown.feed([token]) for token in ids) + shown.close() == "<|im_start|>a<|im_end|>"
