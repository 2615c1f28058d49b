"""GGUF files in llama.cpp itself: the same ids, the same answers and, within its rounding, the same odds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.cli.main import main

pytest.importorskip("xllamacpp", reason="llama.cpp is not here: pip install 'hone-llm[gguf-check]'")
FAMILIES = ("llama_tied", "llama_3_1", "llama_linear", "mistral", "qwen2", "qwen3", "gemma3", "phi3", "smollm3")
LENGTH = 24


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def prompts_of(rows: int) -> list[list[int]]:
    """Random ids, longer than gemma's window."""
    drawn = torch.Generator().manual_seed(3)
    return [torch.randint(3, rows, (24,), generator=drawn).tolist() for _ in range(2)]


def export(folder: Path, target: Path, *more: str) -> Path:
    words = ["export", "--model_name_or_path", str(folder), "--export_dir", str(target), "--template", "smollm2"]
    assert main([*words, "--export_format", "gguf", "--export_gguf_type", "f32", *more]) == 0
    return target / "model.gguf"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_in_llama_cpp_as_in_transformers(
    family: str, sharp_model: Callable[..., Path], tmp_path: Path
) -> None:
    from hone.export.fidelity import ask, filled, judged
    from hone.export.llamacpp import loaded

    folder = sharp_model(family)
    path = export(folder, tmp_path / "out")
    said = json.loads((tmp_path / "out" / "fidelity.json").read_text())
    assert said["holds"] and said["prompt_ids_equal"] and said["same_answers"] == said["prompts"]
    model = load(folder)
    rows = model.config.vocab_size
    witness = ask(model, prompts_of(300), [2], length=LENGTH)
    with loaded(path, rows=rows, context=96) as judge:
        answers = [judge.answer(prompt, LENGTH, [2]) for prompt in witness.prompts]
        odds = [judge.odds(prompt, answer, 2) for prompt, answer in zip(witness.prompts, witness.answers, strict=True)]
    assert answers == list(witness.answers)
    places = [(number, place) for number, told in enumerate(odds) for place in range(len(told))]
    found = judged(
        witness,
        answers,
        places,
        lambda n, p: filled(odds[n][p], witness.odds[n][p]),
        name="",
        form="f32",
        same_ids=True,
    )
    assert found.max_kl < 1e-5 and found.top1_agreement == 1
