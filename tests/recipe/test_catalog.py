"""The catalogue: known models get their template, unknown and ambiguous names get nothing, nothing heavy is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hone.recipe.catalog import families, find_model, model_name

KNOWN = [
    ("meta-llama/Llama-2-7b-hf", "llama2", "base"),
    ("meta-llama/Llama-2-13b-chat-hf", "llama2", "chat"),
    ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3", "chat"),
    ("meta-llama/Llama-3.1-8B", "llama3", "base"),
    ("meta-llama/Llama-3.2-1B-Instruct", "llama3", "chat"),
    ("meta-llama/Llama-3.3-70B-Instruct", "llama3", "chat"),
    ("meta-llama/Llama-3.2-11B-Vision-Instruct", "mllama", "chat"),
    ("Qwen/Qwen1.5-7B-Chat", "qwen", "chat"),
    ("Qwen/Qwen2-0.5B", "qwen", "base"),
    ("Qwen/Qwen2-57B-A14B-Instruct", "qwen", "chat"),
    ("Qwen/Qwen2.5-7B-Instruct-1M", "qwen", "chat"),
    ("Qwen/Qwen2.5-Coder-1.5B-Instruct", "qwen", "chat"),
    ("Qwen/QwQ-32B", "qwen", "chat"),
    ("Qwen/Qwen3-0.6B", "qwen3", "chat"),
    ("Qwen/Qwen3-8B-Base", "qwen3", "base"),
    ("Qwen/Qwen3-30B-A3B", "qwen3", "chat"),
    ("Qwen/Qwen3-4B-Thinking-2507", "qwen3", "chat"),
    ("Qwen/Qwen3-4B-Instruct-2507", "qwen3_nothink", "chat"),
    ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_vl", "chat"),
    ("Qwen/Qwen3-VL-2B-Instruct", "qwen3_vl_nothink", "chat"),
    ("mistralai/Mistral-7B-v0.1", "mistral", "base"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "mistral", "chat"),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistral", "chat"),
    ("mistralai/Mistral-Nemo-Instruct-2407", "ministral", "chat"),
    ("google/gemma-2b-it", "gemma", "chat"),
    ("google/gemma-7b", "gemma", "base"),
    ("google/gemma-2-9b-it", "gemma2", "chat"),
    ("google/gemma-3-1b-it", "gemma2", "chat"),
    ("google/gemma-3-4b-pt", "gemma3", "base"),
    ("microsoft/Phi-3-mini-4k-instruct", "phi", "chat"),
    ("microsoft/Phi-3.5-mini-instruct", "phi", "chat"),
    ("microsoft/phi-4", "phi4", "chat"),
    ("deepseek-ai/deepseek-llm-7b-chat", "deepseek", "chat"),
    ("deepseek-ai/DeepSeek-V2-Lite-Chat", "deepseek", "chat"),
    ("deepseek-ai/deepseek-coder-6.7b-base", "deepseekcoder", "base"),
    ("deepseek-ai/DeepSeek-V3-Base", "deepseek3", "base"),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "deepseekr1", "chat"),
    ("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "deepseekr1", "chat"),
    ("HuggingFaceTB/SmolLM-360M", "smollm", "base"),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2", "chat"),
    ("01-ai/Yi-6B-Chat", "yi", "chat"),
    ("01-ai/Yi-1.5-9B", "yi", "base"),
    ("internlm/internlm3-8b-instruct", "intern2", "chat"),
    ("THUDM/chatglm3-6b", "chatglm3", "chat"),
    ("THUDM/GLM-4-9B-0414", "glm4", "base"),
    ("ibm-granite/granite-3.1-2b-instruct", "granite3", "chat"),
    ("openai/gpt-oss-20b", "gpt_oss", "chat"),
]


@pytest.mark.parametrize(("name", "template", "kind"), KNOWN)
def test_known_models_get_their_template(name: str, template: str, kind: str) -> None:
    entry = find_model(name)
    assert entry is not None
    assert (entry.template, entry.kind) == (template, kind)


@pytest.mark.parametrize(
    "path",
    [
        "Qwen/Qwen2.5-7B-Instruct",
        "/models/qwen2.5-7b-instruct/",
        "C:\\models\\Qwen2.5-7B-Instruct",
        "qwen2.5-7b-instruct-q4_k_m.gguf",
        "bartowski/Qwen2.5-7B-Instruct.IQ4_XS.gguf",
        "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
        "Qwen/Qwen2.5-7B-Instruct-AWQ",
        "unsloth/Qwen2.5-7B-Instruct-bnb-4bit",
        "Qwen/Qwen2.5-7B-Instruct-GGUF",
        "~/.cache/huggingface/hub/models--Qwen--Qwen2.5-7B-Instruct/snapshots/a09a354",
    ],
)
def test_the_same_model_is_known_wherever_it_lies_and_however_it_is_stored(path: str) -> None:
    assert find_model(path) == find_model("Qwen/Qwen2.5-7B-Instruct")


@pytest.mark.parametrize(
    "name",
    ["", "/", "my-model", "qwen", "Qwen2.5", "llama", "Qwen2.5-7B-Instruct-my-own-tune", "not-Qwen2.5-7B-Instruct",
     "DeepSeek-R1-Distill", "gpt2", "bigscience/bloom-7b1", "saves/Llama-3-8B/lora/sft", "checkpoint-500"],
)  # fmt: skip
def test_what_is_not_known_is_not_guessed(name: str) -> None:
    assert find_model(name) is None


def test_no_known_name_fits_two_families() -> None:
    for name, *_ in KNOWN:
        fitting = [family.name for family in families() if family.pattern.fullmatch(model_name(name))]
        assert len(fitting) == 1, (name, fitting)


def test_every_family_is_well_formed() -> None:
    names = [family.name for family in families()]
    assert len(names) == len(set(names)) >= 50
    assert all(family.template and family.bare in ("base", "chat") for family in families())


def test_looking_up_loads_nothing_heavy() -> None:
    code = (
        "import sys; from hone.recipe.catalog import find_model; find_model('Qwen/Qwen3-8B');"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_template_it_names_exists() -> None:
    from hone.dialogue.template import template_names

    assert {family.template for family in families()} <= set(template_names())
