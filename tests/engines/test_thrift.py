"""What an engine keeps of the machine's memory: few kernels, and nothing that is free once nobody asks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hone.engines.base import Settings
from hone.engines.thrift import KERNELS, NAMES

MADE = """
import torch
from hone.engines.thrift import keep_few_kernels

keep_few_kernels()
weight = torch.ones(16, 16)
with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON_CREATION):
    for _ in range(2):
        for rows in range(1, ROWS + 1):
            torch.ops.mkldnn._linear_pointwise(torch.ones(rows, 16), weight, None, "none", [], "")
"""
FEW, MANY = KERNELS // 2 - 8, KERNELS + 8


@pytest.mark.parametrize(("rows", "given", "again"), [(FEW, "", 0), (MANY, "", 1), (MANY, "1024", 0)])
def test_onednn_keeps_few_kernels_unless_told_otherwise(
    rows: int, given: str, again: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for long ago is made again only where more were asked for since than are kept."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv(NAMES[1], given)
    words = [sys.executable, "-c", MADE.replace("ROWS", str(rows))]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    made = [line for line in told.splitlines() if "create:cache_miss" in line and "inner_product" in line]
    assert len(made) == rows * (1 + again)


@pytest.mark.skipif(sys.platform != "linux", reason="the GNU library alone keeps what was freed")
def test_an_engine_that_nobody_asks_gives_back_what_was_freed(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hone.engines.torch import TorchEngine

    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    folder = tiny_model("llama")
    engine = TorchEngine(AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    assert os.environ[NAMES[0]] == str(KERNELS), "before anything was computed"
    memory, ask, room = psutil.Process().memory_info, Settings(max_new_tokens=1), 30 * 2**20
    list(engine.generate([3, 1, 4], ask))
    full = memory().rss
    made = [torch.ones(2**13) for _ in range(4000)]
    kept = made[::100]
    del made
    assert memory().rss > full + 3 * room, "it lies between parts that are kept"
    list(engine.generate([3, 1, 4], ask))
    until = time.monotonic() + 10
    while memory().rss > full + room and time.monotonic() < until:
        time.sleep(0.1)
    assert memory().rss <= full + room
    assert all(float(one[0]) == 1 for one in kept)
