"""The small real model as a float32 GGUF file: in llama.cpp it says what it says in transformers, token for token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hone.cli.main import main

pytestmark = [pytest.mark.model, pytest.mark.slow]
LENGTH = 64


def test_twenty_greedy_answers_are_the_same_tokens(small_model: Path, tmp_path: Path) -> None:
    """transformers reads each answer of llama.cpp at once: it would have written the same where it finds each token of
    it the likeliest after those before it, and none of them ends an answer but the last."""
    pytest.importorskip("xllamacpp", reason="llama.cpp is not here: pip install 'hone-llm[gguf-check]'")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hone.dialogue.encoder import Encoder
    from hone.dialogue.message import Conversation, Message, Text
    from hone.dialogue.template import load_template
    from hone.export.fidelity import QUESTIONS
    from hone.export.llamacpp import loaded

    words = ["--model_name_or_path", str(small_model), "--export_dir", str(tmp_path / "out"), "--export_check", "false"]
    assert main(["export", *words, "--export_format", "gguf", "--export_gguf_type", "f32"]) == 0
    encoder = Encoder(load_template("smollm2"), AutoTokenizer.from_pretrained(small_model))
    prompts = [encoder.prompt(Conversation((Message("user", (Text(text),)),))) for text in QUESTIONS]
    model = AutoModelForCausalLM.from_pretrained(small_model, dtype=torch.float32).eval()
    with loaded(tmp_path / "out/model.gguf", rows=model.config.vocab_size, context=256) as judge:
        told = [judge.prompt([{"role": "user", "content": text}]) for text in QUESTIONS]
        assert [judge.ids(text, begin=True) for text in told] == prompts
        answers = [judge.answer(prompt, LENGTH, encoder.stop_ids) for prompt in prompts]
    assert len(answers) == 20 and sum(map(len, answers)) > 12 * LENGTH
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        assert tuple(logits.argmax(-1).tolist()) == answer
        assert not set(answer[:-1]) & set(encoder.stop_ids)
        assert len(answer) == LENGTH or answer[-1] in encoder.stop_ids
