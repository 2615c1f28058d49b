"""What the engines `llamacpp` and `vllm` cannot do is refused before anything is loaded, with what to do instead."""

from __future__ import annotations

from typing import Any

import pytest

from hone.errors import RecipeError
from hone.recipe import settle

ASK = {"model_name_or_path": "m.gguf", "infer_backend": "llamacpp"}


@pytest.mark.parametrize("verb", ["chat", "api", "webchat"])
def test_it_may_be_asked_for_wherever_a_model_is_asked(verb: str) -> None:
    assert settle(ASK, verb=verb).engine.infer_backend == "llamacpp"
    assert settle(ASK | {"infer_backend": "llama.cpp"}, verb=verb).engine.infer_backend == "llamacpp"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adapter_name_or_path": "a"}, "adapter_name_or_path and infer_backend.*hone export"),
        ({"quantization_bit": 4}, "quantization_bit and infer_backend"),
        ({"add_special_tokens": "<x>"}, "add_special_tokens and infer_backend"),
        ({"rope_scaling": "yarn"}, "rope_scaling and infer_backend"),
        ({"stage": "rm"}, "infer_backend and stage.*hidden states"),
    ],
)
def test_what_a_gguf_file_has_no_place_for_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        settle(ASK | change, verb="chat")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantization_bit": 4}, "quantization_bit and infer_backend.*vLLM reads weights"),
        ({"add_tokens": "<x>"}, "add_tokens and infer_backend"),
        ({"rope_scaling": "yarn"}, "rope_scaling and infer_backend"),
        ({"flash_attn": "sdpa"}, "flash_attn and infer_backend.*vLLM chooses"),
        ({"stage": "rm"}, "infer_backend and stage.*vLLM does not give"),
    ],
)
def test_what_vllm_reads_otherwise_is_refused_and_an_adapter_is_not(change: dict[str, Any], words: str) -> None:
    asked = {"model_name_or_path": "m", "infer_backend": "vllm", "adapter_name_or_path": "a", "vllm_maxlen": 99}
    assert settle(asked, verb="chat").engine.vllm_maxlen == 99
    with pytest.raises(RecipeError, match=words):
        settle(asked | change, verb="chat")


@pytest.mark.parametrize("engine", ["llamacpp", "vllm"])
def test_training_does_not_answer_with_it(engine: str) -> None:
    with pytest.raises(RecipeError, match=r"infer_backend.*the model it trains"):
        settle(ASK | {"infer_backend": engine, "dataset": "identity", "do_train": True}, verb="train")
