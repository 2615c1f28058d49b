"""The one place that changes a tokenizer."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hone.dialogue.fix_tokenizer import fix_tokenizer
from hone.dialogue.template import load_template


@pytest.fixture
def tokenizer(chatml_tokenizer: Any) -> Any:
    return copy.deepcopy(chatml_tokenizer)


def test_the_first_stop_word_becomes_the_end_token(tokenizer: Any) -> None:
    tokenizer.eos_token = "<|endoftext|>"
    assert fix_tokenizer(tokenizer, load_template("chatml")) == ()
    assert tokenizer.eos_token == "<|im_end|>" and "<|im_start|>" in tokenizer.all_special_tokens


def test_a_missing_end_and_padding_token_are_given(tokenizer: Any) -> None:
    tokenizer.eos_token = tokenizer.pad_token = None
    assert fix_tokenizer(tokenizer, load_template("default")) == ()
    assert tokenizer.eos_token == tokenizer.pad_token == "<|endoftext|>"


def test_words_new_to_the_vocabulary_are_told(tokenizer: Any) -> None:
    before = len(tokenizer)
    assert fix_tokenizer(tokenizer, load_template("llama3")) == ("<|eot_id|>", "<|eom_id|>")
    assert len(tokenizer) == before + 2 and tokenizer.eos_token == "<|eot_id|>"
    assert tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|eom_id|>"]) == [before, before + 1]


def test_doing_it_twice_changes_nothing(tokenizer: Any) -> None:
    fix_tokenizer(tokenizer, load_template("llama3"))
    size = len(tokenizer)
    assert fix_tokenizer(tokenizer, load_template("llama3")) == () and len(tokenizer) == size


NEW_WORDS = """
import sys
from transformers import AutoTokenizer
from hone.dialogue.fix_tokenizer import fix_tokenizer
from hone.dialogue.template import load_template
for name in ("llama3", "gemma", "glmz1", "granite4"):
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    new = fix_tokenizer(tokenizer, load_template(name))
    print(name, *(f"{word} {tokenizer.convert_tokens_to_ids(word)}" for word in new))
"""


def test_new_words_get_the_same_ids_in_every_process(tokenizer: Any, tmp_path: Path) -> None:
    """Neither the hashes of Python nor those of the tokenizer's own table decide: the order of the card does."""
    tokenizer.save_pretrained(tmp_path)
    told = [
        subprocess.run(
            [sys.executable, "-c", NEW_WORDS, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    ]
    size = len(tokenizer)
    assert told[0] == told[1]
    assert f"llama3 <|eot_id|> {size} <|eom_id|> {size + 1}\n" in told[0]
    assert f"glmz1 <|user|> {size} <|observation|> {size + 1}\n" in told[0]
