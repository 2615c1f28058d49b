"""What an engine keeps of the machine's memory: few kernels, and nothing that is free once nobody asks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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


IDLE = """
import sys
import time

import psutil
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hone.engines.base import Settings
from hone.engines.torch import TorchEngine

folder = sys.argv[1]
engine = TorchEngine(AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
memory, ask, room = psutil.Process().memory_info, Settings(max_new_tokens=1), 30 * 2**20
list(engine.generate([3, 1, 4], ask))
full = memory().rss
made = [torch.ones(2**13) for _ in range(4000)]
kept = made[::100]
del made
assert memory().rss > full + 3 * room, "it lies between parts that are kept"
list(engine.generate([3, 1, 4], ask))
until = time.monotonic() + 20
while memory().rss > full + room and time.monotonic() < until:
    time.sleep(0.1)
assert memory().rss <= full + room, "it was not given back"
assert all(float(one[0]) == 1 for one in kept)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the GNU library alone keeps what was freed")
def test_an_engine_that_nobody_asks_gives_back_what_was_freed(tiny_model: Callable[[str], Path]) -> None:
    """In a process of its own: what other tests have freed would be taken first."""
    words = [sys.executable, "-c", IDLE, str(tiny_model("llama"))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_an_engine_bounds_what_onednn_keeps_before_anything_is_computed(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hone.engines.torch import TorchEngine

    monkeypatch.setenv(NAMES[0], "")  # so that it is as before after the test
    monkeypatch.delenv(NAMES[0])
    monkeypatch.delenv(NAMES[1], raising=False)
    folder = tiny_model("llama")
    TorchEngine(AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    assert os.environ[NAMES[0]] == str(KERNELS)
