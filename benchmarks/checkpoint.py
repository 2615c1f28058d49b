"""What it costs that checkpoints are safe: wall time of a training with save_steps=100, as it is and without the care.

    python benchmarks/checkpoint.py [--steps 400] [--rounds 3]

Without the care: no fsync, no hashes, no manifest. Both kinds of run take turns; the fastest of each counts. Beside it
processor time, which other work on the machine disturbs less, the cost of one save, the time that was spent in the care
itself (hashes, manifest, fsync) for each save, and how fast a checkpoint is verified.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

ROWS = 400


def main() -> None:
    """Measure and print one line of JSON for each row."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--steps", type=int, default=400)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--full", action="store_true", help="whole weights instead of an adapter")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HONE_CACHE"] = str(folder / "cache")
        recipe = prepare(folder, asked.steps, full=asked.full)
        train(recipe, folder / "warm", steps=5)
        care: list[dict[str, float]] = []
        times: dict[str, list[tuple[float, float]]] = {"safe": [], "careless": []}
        for number in range(asked.rounds):
            with clocked() as spent:
                times["safe"].append(train(recipe, folder / f"safe-{number}"))
            care.append(spent)
            with careless():
                times["careless"].append(train(recipe, folder / f"careless-{number}"))
        (safe, safe_cpu), (bare, bare_cpu) = (
            tuple(min(one[kind] for one in times[name]) for kind in (0, 1)) for name in ("safe", "careless")
        )
        checkpoint = folder / f"safe-0/checkpoint-{asked.steps}"
        began = time.perf_counter()
        verify(checkpoint)
        seconds = time.perf_counter() - began
        size = sum(path.stat().st_size for path in checkpoint.iterdir())
        saves = asked.steps // 100
        print(
            json.dumps(
                {
                    "steps": asked.steps,
                    "save_steps": 100,
                    "safe_s": round(safe, 3),
                    "careless_s": round(bare, 3),
                    "cost_percent": round((safe / bare - 1) * 100, 2),
                    "safe_cpu_s": round(safe_cpu, 3),
                    "careless_cpu_s": round(bare_cpu, 3),
                    "cost_cpu_percent": round((safe_cpu / bare_cpu - 1) * 100, 2),
                    "cost_per_save_ms": round((safe - bare) / saves * 1000, 1),
                    "care_ms_per_save": round(min(one["wall"] for one in care) / saves * 1000, 1),
                    "care_cpu_ms_per_save": round(min(one["cpu"] for one in care) / saves * 1000, 1),
                    "checkpoint_mb": round(size / 1e6, 2),
                    "verify_ms": round(seconds * 1000, 2),
                }
            )
        )


def prepare(folder: Path, steps: int, *, full: bool) -> dict[str, Any]:
    """A tiny random model, rows, and the recipe of the run."""
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    import torch
    import transformers

    from conftest import SHAPE, tiny_tokenizer

    model = folder / "model"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.LlamaConfig(**SHAPE)
        transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(model)
    tiny_tokenizer().save_pretrained(model)
    rows = [{"instruction": f"Count to {n % 20}.", "output": " ".join(map(str, range(n % 20)))} for n in range(1, ROWS)]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    return {
        "stage": "sft", "do_train": True, "model_name_or_path": str(model), "template": "chatml", "dataset": "rows",
        "dataset_dir": str(folder), "cutoff_len": 64, "max_steps": steps, "save_steps": 100, "logging_steps": 50,
        "per_device_train_batch_size": 2, "use_cpu": True, "report_to": "none",
        "finetuning_type": "full" if full else "lora",
    }  # fmt: skip


def train(recipe: dict[str, Any], folder: Path, *, steps: int | None = None) -> tuple[float, float]:
    """Seconds of the training loop, its saves among them, and of processor of the whole run."""
    from hone.recipe import settle
    from hone.runs.train import train as carry_out

    values = recipe | {"output_dir": str(folder)} | ({"max_steps": steps} if steps else {})
    began = time.process_time()
    seconds = float(carry_out(settle(values, verb="train"))["train_runtime"])
    return seconds, time.process_time() - began


def verify(checkpoint: Path) -> None:
    """Read and hash every byte, as a resumed run does."""
    from hone.training.checkpoints.manifest import fault_of

    fault = fault_of(checkpoint)
    if fault:
        raise SystemExit(fault)


@contextmanager
def clocked() -> Iterator[dict[str, float]]:
    """Adds up the seconds spent in making checkpoints safe."""
    from hone.training.checkpoints import manifest

    spent = {"wall": 0.0, "cpu": 0.0}
    seal = manifest.seal

    def timed(*given: Any, **named: Any) -> Any:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return seal(*given, **named)
        finally:
            spent["wall"] += time.perf_counter() - wall
            spent["cpu"] += time.thread_time() - cpu

    with mock.patch("hone.training.checkpoints.manifest.seal", timed):
        yield spent


@contextmanager
def careless() -> Iterator[None]:
    """Saves as if nothing could go wrong."""
    with (
        mock.patch("hone.training.checkpoints.manifest.seal"),
        mock.patch("hone.training.checkpoints.manifest.sync_folder"),
        mock.patch("os.fsync"),
    ):
        yield


if __name__ == "__main__":
    main()
