"""How many tokens a model knows is told from its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hone.models.embeddings import vocabulary_size


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_folder_says_it_in_its_config(tiny_model: Callable[[str], Path], family: str) -> None:
    assert vocabulary_size(tiny_model(family)) == 512


@pytest.mark.model
def test_a_gguf_file_says_it_in_its_header(small_model: Path) -> None:
    from hone.models.embedded import embedded_gguf

    assert vocabulary_size(embedded_gguf()) == vocabulary_size(small_model) == 49152
