"""Fixtures that several rooms share: the real small model, and tiny random models of many families."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# One commit, one verdict: CI draws the same examples each time; `make nightly` looks for new ones.
settings.register_profile("fixed", derandomize=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

TEXT = [
    "The quick brown fox jumps over the lazy dog while 123 geese watch.",
    "A model learns from examples; an example is a question and an answer.",
    "def add(a, b):\n    return a + b\n",
    "你好,世界。我们在训练一个小模型。",
    "user system assistant tool <think> </think>",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHAPE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama_tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 32}),
    "mistral": ("MistralConfig", {"sliding_window": 64}),
    "gemma": ("GemmaConfig", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 16, "tie_word_embeddings": True, "sliding_window": 64}),
    "phi3": ("Phi3Config", {}),
}


@pytest.fixture(scope="session")
def small_model() -> Path:
    """The embedded real model (SmolLM2-135M-Instruct) as a Hugging Face folder."""
    from hone.errors import MachineError
    from hone.models.embedded import embedded_model

    try:
        return embedded_model()
    except MachineError as reason:
        pytest.skip(f"the small real model cannot be had here: {reason}")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_model("qwen3")` is a folder with a random 3-layer model of that family (see FAMILIES) and a tokenizer."""
    root = tmp_path_factory.mktemp("tiny")

    @functools.cache
    def make(family: str) -> Path:
        import torch
        import transformers

        name, changes = FAMILIES[family]
        config = getattr(transformers, name)(**{**SHAPE, **changes})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(root / family)
        tiny_tokenizer().save_pretrained(root / family)
        return root / family

    return make


@functools.cache
def tiny_tokenizer() -> Any:
    """A byte-level BPE of at most 512 tokens, trained here on TEXT: pad 0, bos 1, eos 2, and a ChatML chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE["vocab_size"],
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], bos_token=special[1], eos_token=special[2]
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The conformance table. It stands here because with several processes only this conftest is read by the first."""
    sys.path.insert(0, str(Path(__file__).parent / "conformance"))
    import corpus

    corpus.show_summary(terminalreporter)


@pytest.fixture(scope="session")
def serve() -> Callable[[Any], Any]:
    """A context in which an application is served on a free port of this machine; it gives the address."""
    import uvicorn

    @contextlib.contextmanager
    def serving(app: Any) -> Iterator[str]:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(15)

    return serving
