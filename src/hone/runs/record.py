"""`run.json`: what a run was made from, where it ran, and what came out; enough to run it again and compare."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone import __version__
from hone.recipe import Recipe, as_dict
from hone.rundir import write_json

if TYPE_CHECKING:
    from hone.training.trainer import StageTrainer

FILE = "run.json"
PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy", "bitsandbytes")
KEPT = ("step", "loss", "grad_norm", "learning_rate")


def write_record(folder: Path, recipe: Recipe, facts: Mapping[str, Any], trainer: StageTrainer) -> None:
    """Put `run.json` into the run directory. Secrets are masked."""
    write_json(folder / FILE, record(recipe, facts, trainer))


def record(recipe: Recipe, facts: Mapping[str, Any], trainer: StageTrainer) -> dict[str, Any]:
    """The recipe as it was given, hashes of data, encoding and base model, versions, seeds, hardware, results."""
    training = recipe.training
    return {
        "hone": __version__,
        "recipe": as_dict(recipe, only_given=True),
        "settled": as_dict(recipe),
        "data": facts.get("data"),
        "encoding": facts.get("encoding"),
        "model": facts.get("model"),
        "seeds": {"seed": training.seed, "data_seed": trainer.args.data_seed},
        "processes": facts.get("processes"),
        "versions": versions(),
        "hardware": hardware(str(trainer.args.device)),
        "results": results(trainer.state),
    }


def versions() -> dict[str, str]:
    """Python and the packages that numbers depend on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: str) -> dict[str, Any]:
    """What the run computed on."""
    import torch

    found: dict[str, Any] = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name()
    return found


def results(state: Any) -> dict[str, Any]:
    """Steps, the course of the loss, and the last evaluation."""
    course = [{name: event[name] for name in KEPT if name in event} for event in state.log_history if "loss" in event]
    evaluations = [event for event in state.log_history if any(name.startswith("eval_") for name in event)]
    timing = ("_runtime", "_per_second")
    last = {name: value for name, value in (evaluations or [{}])[-1].items() if not name.endswith(timing)}
    return {"steps": state.global_step, "epoch": state.epoch, "course": course, "evaluation": last}


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
