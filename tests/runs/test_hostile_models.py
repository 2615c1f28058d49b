"""Models made to do harm, asked all the same: code beside them does not run, numbers that are none are told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hone.dialogue.message import Conversation, Message, Text
from hone.engines.base import Settings
from hone.errors import ModelError, NumericError
from hone.recipe import settle
from hone.runs.session import open_session

HELLO = Conversation((Message("user", (Text("hello"),)),))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def asked(model: Path, **more: Any) -> str:
    session = open_session(settle({"model_name_or_path": str(model), **more}, verb="chat"))
    reply = session.say(HELLO, Settings(do_sample=False, max_new_tokens=4))
    return "".join(map(str, reply))


def test_weights_that_are_no_numbers_give_no_answer(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = Path(shutil.copytree(tiny_model("llama"), tmp_path / "model"))
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NumericError, match="LOGITS-NAN") as caught:
        asked(model, template="chatml")
    assert caught.value.exit_code == 7


def test_code_that_lies_beside_a_model_does_not_run(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    """`custom_generate` is run by nobody; what a config names as code is refused (tests/models/test_load.py)."""
    model = Path(shutil.copytree(tiny_model("llama"), tmp_path / "model"))
    (model / "custom_generate").mkdir()
    for place in (model / "custom_generate/generate.py", model / "modeling_llama.py", model / "__init__.py"):
        place.write_text(f"import os\nos.mkdir({str(tmp_path / 'canary')!r})\n")
    asked(model, template="chatml")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "way",
    [
        "{{ lipsum.__globals__['os'].mkdir('PLACE') }}",
        "{{ cycler.__init__.__globals__.os.mkdir('PLACE') }}",
        "{% for one in ().__class__.__mro__[1].__subclasses__() %}{{ one }}{% endfor %}",
        "{{ messages|attr('__class__') }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_in_a_gguf_file_does_not_leave_the_sandbox(
    way: str, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hone.export.gguf_file import write_gguf
    from hone.export.weights import Weights

    model = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama"))
    payload = way.replace("PLACE", str(tmp_path / "canary")) + tokenizer.chat_template
    (tmp_path / "gguf").mkdir()
    write_gguf(
        tmp_path / "gguf/model.gguf", Weights(model), tokenizer, wanted="f32", chat_template=payload, stop_ids=(2,),
        begins=False,
    )  # fmt: skip
    with pytest.raises(ModelError, match="TEMPLATE-JINJA") as caught:
        asked(tmp_path / "gguf/model.gguf")
    assert caught.value.exit_code == 4
    assert not (tmp_path / "canary").exists()
