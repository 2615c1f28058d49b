"""A run of several processes leaves its group in order: no thread of it outlives the run, however the run ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RUN = """
import gc, os, sys, tempfile
import torch, torch.distributed as group
from hone.errors import HoneError, NumericError
from hone.training.processes import together

def threads():
    return len(os.listdir("/proc/self/task"))

def learn(fails):
    group.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
    model.circle = model
    model(torch.ones(1, 4)).sum().backward()
    print("within", threads() > before)
    if fails:
        raise fails

before = threads()
fails = {"well": None, "fault": NumericError.one("NUMERIC", "nan"), "interrupt": KeyboardInterrupt()}[sys.argv[1]]
try:
    with together():
        learn(fails)
except (HoneError, KeyboardInterrupt) as reason:
    pass
print("after", threads() - before, group.is_initialized())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads that Linux shows")
@pytest.mark.parametrize("ending", ["well", "fault", "interrupt"])
def test_no_thread_of_the_group_outlives_the_run(ending: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, ending],
        env=os.environ | {"RANK": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == ["within True", "after 0 False"], done.stderr
    assert done.returncode == 0, done.stderr
