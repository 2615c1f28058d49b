"""Compiled chat templates with the real tokenizers of their families: the ids of our own encoder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from hone.dialogue.compile.jinja import compile_jinja
from hone.dialogue.template import load_template
from hone.runs.template_comparison import compare

CARDS = {"qwen3": "qwen3", "llama3_1": "llama3", "deepseek_v3": "deepseek3", "gemma3": "gemma3"}


@pytest.mark.slow
def test_a_text_tokenised_in_one_go_has_the_ids_of_the_encoder(real_tokenizer: Any) -> None:
    """Typed control words aside. Llama 2 joins pieces that the encoder keeps apart, and has no chat template."""
    family = Path(real_tokenizer.name_or_path).parent.name
    if family not in CARDS:
        pytest.skip(f"{family} puts no control token between its pieces")
    card, tokenizer = load_template(CARDS[family]), copy.deepcopy(real_tokenizer)
    tokenizer.chat_template = compile_jinja(card)
    assert [one for one in compare(card, tokenizer) if not one.equal and not one.spelled] == []
