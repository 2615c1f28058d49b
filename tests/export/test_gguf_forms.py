"""GGUF in all forms: adapters alone, few bits, grown vocabularies, tokenizers with pieces of bytes; in llama.cpp."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hone.cli.main import main

pytest.importorskip("xllamacpp", reason="llama.cpp is not here: pip install 'hone-llm[gguf-check]'")
TEXTS = (
    "Hello world",
    " two  spaces and\ttab\n",
    "def add(a, b):\n    return a + b",
    "你好,世界。 🙂 é",
    "<|im_end|>x</s>",
)
HARD = (
    "a", " ", "\n\n\n", "\t\t x", "    four spaces, then\n  two", "3.14159 and 10,000 or 2024-11-29",
    "Ünïcödé straße naïve", "日本語とカタカナ 한국어 العربية עברית ไทย", "👩‍👩‍👧 🇯🇵 \u200b\ufeff",
    "\x07 \u0300 \U0001f980\U0001f980",
    "x=[i**2 for i in range(10)] # ok?", "https://example.org/a?b=c&d=%20", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "<s> and </s> and <bos> typed", "the▁mark itself",
)  # fmt: skip
"""Numbers, scripts, marks that combine, and what looks like a control token."""


def export(folder: Path, target: Path, *more: str) -> int:
    words = ["export", "--model_name_or_path", str(folder), "--export_dir", str(target), "--template", "smollm2"]
    return main([*words, "--export_format", "gguf", *more])


def said(target: Path) -> dict[str, Any]:
    return json.loads((target / "fidelity.json").read_text())


@pytest.mark.parametrize(("family", "rslora"), [("llama", True), ("qwen3", False)])
def test_an_adapter_alone_does_on_its_base_in_llama_cpp_what_it_does_here(family, rslora, sharp_model, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    from hone.export.fidelity import ask
    from hone.export.llamacpp import loaded

    folder = sharp_model(family)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    targets = ["q_proj", "k_proj", "o_proj", "up_proj"]
    wrapped = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, target_modules=targets, use_rslora=rslora)
    )
    torch.manual_seed(1)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.3)
    wrapped.save_pretrained(tmp_path / "adapter")
    assert export(folder, tmp_path / "base", "--export_gguf_type", "f32", "--export_check", "false") == 0
    lora = ("--adapter_name_or_path", str(tmp_path / "adapter"), "--export_format", "gguf-lora")
    assert export(folder, tmp_path / "lora", *lora) == 0
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = [list(range(40, 60))]
    before = ask(plain, prompt, [2], length=24).answers[0]
    tuned = ask(PeftModel.from_pretrained(plain, tmp_path / "adapter").eval(), prompt, [2], length=24)
    file, alone = tmp_path / "base/model.gguf", tmp_path / "lora/adapter.gguf"
    with loaded(file, rows=512, context=64, lora=alone) as judge:
        found = judge.answer(prompt[0], 24, [2])
        odds = judge.odds(prompt[0], found[:2], 2)
    assert found == tuned.answers[0] != before
    for place, told in enumerate(odds):
        assert max(abs(value - float(tuned.odds[0][place][token])) for token, value in told.items()) < 1e-3


def test_another_base_than_the_adapters_is_refused_for_an_adapter_alone(sharp_model, tiny_model, tmp_path, capsys):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from hone.rundir import RunCard, write_card

    model = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float32)
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])).save_pretrained(
        tmp_path / "adapter"
    )
    write_card(tmp_path / "adapter", RunCard(base_model="another", base_fingerprint="0" * 16))
    lora = ("--adapter_name_or_path", str(tmp_path / "adapter"), "--export_format", "gguf-lora")
    assert export(tiny_model("llama"), tmp_path / "out", *lora) == 4
    assert "ADAPTER-BASE" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("form", "most"), [("f16", 1e-5), ("bf16", 1e-4), ("q8_0", 1e-4), ("q4_0", 1e-2)])
def test_fewer_bits_stay_near(form: str, most: float, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    assert export(tiny_model("llama"), tmp_path / form, "--export_gguf_type", form) == 0
    found = said(tmp_path / form)
    assert found["holds"] and found["mean_kl"] < most and found["form"] == form
    assert (found["bound"] is None) == (form == "q4_0")


def test_eight_bits_are_those_of_the_formats_own_library() -> None:
    """With ties, which go away from zero, blocks of zeros, one weight alone, and scales that float16 cannot hold."""
    from gguf import GGMLQuantizationType, quants

    from hone.export.gguf_types import AT_ONCE, in_eight_bits

    random = torch.Generator().manual_seed(3)
    drawn = torch.randn(AT_ONCE + 5, 32, generator=random)
    drawn[1], drawn[2], drawn[2, 7] = 0, 0, -3.5
    drawn[3] = torch.arange(32) / 2 - 8
    drawn[3, 0], drawn[4] = 127, torch.linspace(-127, 127, 32).round() + 0.49999997
    drawn[5], drawn[6] = drawn[5] * 1e7, drawn[6] * 1e-9
    values = drawn.numpy()
    with np.errstate(over="ignore"):
        wanted = quants.quantize(values, GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(in_eight_bits(values), wanted)


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is not None, reason="llama-cpp-python is here")
def test_formats_that_llama_cpp_makes_are_refused_without_it_before_anything_is_loaded(tiny_model, tmp_path, capsys):
    assert export(tiny_model("llama"), tmp_path / "out", "--export_gguf_type", "q4_k_m") == 6
    assert "llama-cpp-python" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not here")
def test_formats_that_llama_cpp_makes_are_made_and_compared(tiny_model, tmp_path):
    assert export(tiny_model("llama"), tmp_path / "out", "--export_gguf_type", "q4_k_m") == 0
    assert said(tmp_path / "out")["mean_kl"] < 1e-2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fidelity.json", "model.gguf"]


def test_a_word_that_was_added_has_its_row_and_its_id_in_the_file(tiny_model, tmp_path):
    from transformers import AutoTokenizer

    from hone.export.llamacpp import loaded

    words = ("--add_special_tokens", "<hone>", "--export_gguf_type", "f32")
    assert export(tiny_model("llama"), tmp_path / "out", *words) == 0
    assert said(tmp_path / "out")["holds"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama"))
    tokenizer.add_special_tokens({"extra_special_tokens": ["<hone>"]})
    with loaded(tmp_path / "out/model.gguf", rows=512, context=64) as judge:
        for text in ("a<hone>b", *TEXTS):
            assert judge.ids(text) == tokenizer.encode(text, add_special_tokens=False)


def spaced() -> Any:
    """A tokenizer as SentencePiece's are: spaces are letters, unknown letters are bytes, a space leads."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    special = ["<unk>", "<s>", "</s>"]
    grown = Tokenizer(models.BPE(unk_token="<unk>"))
    grown.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    lines = ["hello world of words", "two words and one more world", "def add(a, b): return a + b"] * 3
    grown.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=420, special_tokens=special + bytes_, show_progress=False)
    )
    whole = json.loads(grown.to_str())
    whole["model"] |= {"byte_fallback": True, "fuse_unk": True}
    whole["added_tokens"] = [one for one in whole["added_tokens"] if one["content"] in special]
    backend = Tokenizer.from_str(json.dumps(whole))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )


def test_pieces_of_bytes_and_leading_spaces_are_cut_as_here(sharp_model, tmp_path):
    from hone.export.llamacpp import loaded

    tokenizer = spaced()
    folder = sharp_model("llama", tokenizer)
    assert export(folder, tmp_path / "out", "--export_gguf_type", "f32", "--template", "llama2") == 0
    assert said(tmp_path / "out")["prompt_ids_equal"]
    with loaded(tmp_path / "out/model.gguf", rows=512, context=64) as judge:
        for text in TEXTS:
            assert judge.ids(text) == tokenizer.encode(text, add_special_tokens=False), text


@pytest.mark.parametrize(
    ("name", "family"), [("llama2", "llama"), pytest.param("gemma3", "gemma3", marks=pytest.mark.slow)]
)
def test_real_tokenizers_of_sentencepiece_cut_as_here(
    name: str, family: str, load_real: Callable[[str], Any], sharp_model: Callable[..., Path], tmp_path: Path
) -> None:
    """Llama's tokenizers put a space before a text, and before what follows a control token. llama.cpp does so always,
    as the vendor's file says; transformers leaves it out where there is one already."""
    from tokenizers import Tokenizer

    from hone.export.llamacpp import loaded

    tokenizer = load_real(name)
    vendors = Tokenizer.from_file(f"{tokenizer.name_or_path}/tokenizer.json")
    folder = sharp_model(family, tokenizer)
    assert export(folder, tmp_path / "out", "--export_gguf_type", "f16", "--template", name) == 0
    assert said(tmp_path / "out")["prompt_ids_equal"]
    with loaded(tmp_path / "out/model.gguf", rows=len(tokenizer), context=64) as judge:
        for text in (*TEXTS, *HARD):
            one = vendors.encode(text, add_special_tokens=False).ids
            spaced = text.startswith(" ") or "> " in text
            wanted = one if spaced else tokenizer.encode(text, add_special_tokens=False)
            assert judge.ids(text) == wanted, text
