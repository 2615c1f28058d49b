"""Loading a tokenizer: as its folder says it, fast, padding on the right; broken files are refused."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from hone.errors import ModelError
from hone.models.tokenizer import load_tokenizer
from hone.recipe import ModelSection


def section(folder: Path) -> ModelSection:
    return ModelSection(model_name_or_path=str(folder))


def test_the_tokenizer_is_the_folders_own(folder: Path) -> None:
    tokenizer = load_tokenizer(section(folder))
    assert tokenizer.is_fast
    assert tokenizer.padding_side == "right"
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.decode(tokenizer("héllo 世界").input_ids) == "héllo 世界"
    assert "<|im_start|>" in tokenizer.chat_template


@pytest.mark.parametrize("content", [b"", b"{", b'{"model": 7}', b"PK\x03\x04"])
def test_a_broken_tokenizer_is_refused_with_exit_code_4(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match="TOKENIZER") as caught:
        load_tokenizer(section(folder))
    assert caught.value.exit_code == 4


def test_a_tokenizer_of_absurd_size_is_not_read(folder: Path) -> None:
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(500 << 20)
    with pytest.raises(ModelError, match="more than"):
        load_tokenizer(section(folder))


def test_no_model_is_an_error_that_says_so() -> None:
    with pytest.raises(ModelError, match="no model is named"):
        load_tokenizer(ModelSection())


@pytest.mark.parametrize(("content", "number", "read"), [("", 411, None), ("<|pad|>", 411, 0), ("<far>", 10**6, 415)])
def test_an_added_word_that_is_read_with_another_id_is_refused(
    folder: Path, content: str, number: int, read: int | None
) -> None:
    said = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    said["added_tokens"].append({**said["added_tokens"][0], "content": content, "id": number})
    (folder / "tokenizer.json").write_text(json.dumps(said), "utf-8")
    with pytest.raises(ModelError, match=rf"TOKENIZER.*'{re.escape(content)}' has the id {number}.* read as {read}"):
        load_tokenizer(section(folder))


def test_a_pattern_that_gives_up_on_simple_texts_is_refused(folder: Path) -> None:
    said = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    said["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    (folder / "tokenizer.json").write_text(json.dumps(said), "utf-8")
    with pytest.raises(ModelError, match="the pattern that cuts words gives up") as caught:
        load_tokenizer(section(folder))
    assert caught.value.exit_code == 4


def test_a_long_text_is_read_within_a_second(folder: Path) -> None:
    tokenizer = load_tokenizer(section(folder))
    began = time.process_time()
    assert len(tokenizer("word 12, " * 11_000).input_ids) > 11_000
    assert time.process_time() - began < 1
