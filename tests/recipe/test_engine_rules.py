"""What the engine `llamacpp` cannot do is refused before anything is loaded, with what to do instead."""

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


def test_training_does_not_answer_with_it() -> None:
    with pytest.raises(RecipeError, match=r"infer_backend.*the model it trains"):
        settle(ASK | {"dataset": "identity", "do_train": True}, verb="train")
