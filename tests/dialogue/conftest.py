"""Tokenizers to test with: one trained here in a moment, and real ones where they can be fetched."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that the tests beside this file can say `from speaking import …`

REAL = ("qwen3", "llama3_1", "deepseek_v3", "gemma3", "llama2")


@pytest.fixture(scope="session")
def chatml_tokenizer() -> Any:
    """A byte-level tokenizer with ChatML's control tokens; thought and call words are added but not special."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def bordered_tokenizer() -> Any:
    """The same without an added token of white space, so that its words and what a card writes stand alone."""
    return make_tokenizer(blank=False)


@functools.cache
def make_tokenizer(*, blank: bool = True) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(["user assistant system the answer is a question user assistant"] * 3, trainer)
    words = [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<tool_response>",
        "<table>",
        *(["\n\n"] if blank else []),
    ]
    backend.add_tokens([AddedToken(word, normalized=False, special=False) for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token=special[0], bos_token=special[1], eos_token=special[2], pad_token=special[2]
    )


@pytest.fixture(scope="session", params=REAL)
def real_tokenizer(request: pytest.FixtureRequest, load_real: Callable[[str], Any]) -> Any:
    """A model family's real tokenizer."""
    return load_real(request.param)
