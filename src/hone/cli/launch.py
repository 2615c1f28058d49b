"""`hone train`: in this process, or once on every accelerator through torchrun."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hone.log import say

_TRUE = ("true", "y", "1")
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_QUICKER = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "TORCH_NCCL_AVOID_RECORD_STREAMS": "1"}


def train(words: Sequence[str]) -> int | None:
    """Check the recipe, then train here or launch one process for each accelerator."""
    count = visible_accelerators(os.environ, present_accelerators())
    if wants_launch(os.environ, count):
        from hone.recipe import read_recipe

        recipe = read_recipe(words, verb="train")
        learns = recipe.training.do_train or recipe.training.do_eval
        if learns and (forced(os.environ) or not recipe.training.use_cpu):
            return _launch(torchrun(words, os.environ, count))
    from hone.runs.train import run

    return run(words)


def forced(environment: Mapping[str, str]) -> bool:
    """Whether FORCE_TORCHRUN asks for torchrun, on a single device or on the CPU as well."""
    return environment.get("FORCE_TORCHRUN", "").lower() in _TRUE


def present_accelerators() -> int | None:
    """How many NVIDIA or Ascend devices the machine shows; None if only the driver could tell (WSL, ROCm)."""
    if Path("/dev/dxg").exists() or Path("/dev/kfd").exists():
        return None
    devices = Path("/dev").iterdir() if Path("/dev").is_dir() else ()
    return sum(bool(re.fullmatch(r"(nvidia|davinci)[0-9]+", device.name)) for device in devices)


def visible_accelerators(environment: Mapping[str, str], present: int | None) -> int:
    """How many of them this process may use: all, or those that the environment names."""
    named = next((environment[name] for name in _VISIBLE if name in environment), None)
    if named is None:
        return present or 0
    chosen = [part for part in named.split(",") if part.strip() and part.strip() != "-1"]
    return len(chosen) if present is None else min(len(chosen), present)


def torchrun(words: Sequence[str], environment: Mapping[str, str], count: int) -> list[str]:
    """The command that trains on `count` devices of this machine, as a list of arguments."""
    get = environment.get
    options = {"nproc_per_node": get("NPROC_PER_NODE", str(max(count, 1)))}
    if "RDZV_ID" in environment:
        options |= _elastic(environment)
    else:
        port = get("MASTER_PORT") or _free_port()
        options |= {"nnodes": get("NNODES", "1"), "node_rank": get("NODE_RANK", "0")}
        options |= {"master_addr": get("MASTER_ADDR", "127.0.0.1"), "master_port": port}
    named = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    return [sys.executable, "-m", "hone.cli.torchrun", *named, "-m", "hone", "train", *words]


def _elastic(environment: Mapping[str, str]) -> dict[str, str]:
    """Machines that may come and go, found through a rendezvous."""
    get = environment.get
    few, many = get("MIN_NNODES"), get("MAX_NNODES")
    return {
        "nnodes": f"{few}:{many}" if few and many else get("NNODES", "1"),
        "rdzv_id": environment["RDZV_ID"],
        "rdzv_backend": "c10d",
        "rdzv_endpoint": f"{get('MASTER_ADDR', '127.0.0.1')}:{get('MASTER_PORT') or _free_port()}",
        "max_restarts": get("MAX_RESTARTS", "0"),
    }


def wants_launch(environment: Mapping[str, str], count: int) -> bool:
    """Whether torchrun is needed and this is not already one of its processes."""
    child = "TORCHELASTIC_RUN_ID" in environment or "LOCAL_RANK" in environment
    return not child and (forced(environment) or count > 1)


def _launch(command: Sequence[str]) -> int:
    environment = dict(os.environ)
    if environment.get("OPTIM_TORCH", "1").lower() in _TRUE:
        environment = _QUICKER | environment
    if int(environment.get("NNODES", "1")) > 1:
        say(f"node {environment.get('NODE_RANK', '0')} of {environment['NNODES']}")
    return wait_for(subprocess.Popen(command, env=environment, start_new_session=True))


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """The exit code of the child. Signals are handed on once; the child needs time to save, so nobody kills it here."""
    before = {number: signal.signal(number, lambda got, _: process.send_signal(got)) for number in _SIGNALS}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
