"""Two processes: a signal saves once for both, a run that was cut off ends the same, a dead process ends the other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hone.training.checkpoints.keeper import numbered
from hone.training.checkpoints.manifest import fault_of

pytestmark = pytest.mark.slow
READ_AS: dict[str, dict[str, Any]] = {
    "rows": {},
    "texts": {"columns": {"prompt": "output"}},
    "pairs": {"ranking": True, "columns": {"prompt": "instruction", "chosen": "output", "rejected": "worse"}},
    "judged": {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "liked"}},
}
"""The same rows as each stage reads them."""
CUT_OFF: dict[str, dict[str, Any]] = {
    "sft-lora": {},
    "sft-full-packing": {"finetuning_type": "full", "packing": True, "cutoff_len": 32},
    "sft-lora-accumulating": {"gradient_accumulation_steps": 3, "save_steps": 3, "max_steps": 5},
    "pt-lora": {"stage": "pt", "dataset": "texts", "cutoff_len": 16},
    "pt-full-accumulating": {
        "stage": "pt", "dataset": "texts", "packing": False, "finetuning_type": "full",
        "gradient_accumulation_steps": 2,
    },
    "dpo-lora": {"stage": "dpo", "dataset": "pairs"},
    "kto-full": {"stage": "kto", "dataset": "judged", "finetuning_type": "full"},
    "rm-lora-workers": {"stage": "rm", "dataset": "pairs", "dataloader_num_workers": 2},
}  # fmt: skip


@pytest.fixture
def begin(tiny_model: Callable[[str], Path], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """`begin(folder, …)` starts a training of two processes through torchrun."""
    rows = [
        {"instruction": f"Count to {n}.", "output": " ".join(map(str, range(n))), "worse": "No.", "liked": n % 2 == 0}
        for n in range(1, 13)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "dataset_info.json").write_text(
        json.dumps({name: {"file_name": "rows.json", **how} for name, how in READ_AS.items()})
    )
    quiet = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2",
             "HONE_CACHE": str(tmp_path / "cache")}  # fmt: skip

    def go(folder: Path, **changes: Any) -> subprocess.Popen[str]:
        values = {
            "stage": "sft", "do_train": True, "model_name_or_path": tiny_model("llama"), "template": "chatml",
            "dataset": "rows", "dataset_dir": tmp_path, "cutoff_len": 64, "max_steps": 8, "logging_steps": 1,
            "learning_rate": 0.01, "lora_dropout": 0.1, "save_strategy": "no", "per_device_train_batch_size": 1,
            "use_cpu": True, "output_dir": folder,
        }  # fmt: skip
        words = [f"{name}={value}" for name, value in (values | changes).items()]
        return subprocess.Popen(
            [sys.executable, "-m", "hone", "train", *words],
            env=os.environ | quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    return go


def history(folder: Path) -> list[tuple[int, float, float]]:
    events = json.loads((folder / "trainer_state.json").read_text("utf-8"))["log_history"]
    return [(event["step"], event["loss"], event["grad_norm"]) for event in events if "loss" in event]


def test_a_signal_to_two_processes_saves_once_and_the_resumed_run_ends_the_same(
    begin: Callable[..., subprocess.Popen[str]], wait_until: Any, tmp_path: Path
) -> None:
    run = begin(tmp_path / "run", max_steps=300)
    log = tmp_path / "run/trainer_log.jsonl"
    wait_until(lambda: log.exists() and b'"current_steps": 2,' in log.read_bytes(), seconds=120)
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 143, said
    assert "resume with: hone train" in said
    saved = numbered(tmp_path / "run")
    assert len(saved) == 1 and fault_of(saved[0]) is None, said
    end = int(saved[0].name.rpartition("-")[2]) + 3
    assert begin(tmp_path / "run", max_steps=end).wait(timeout=120) == 0
    assert [step for step, _, _ in history(tmp_path / "run")] == list(range(1, end + 1))


@pytest.mark.parametrize("case", CUT_OFF)
def test_two_processes_that_were_cut_off_end_the_same(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path, case: str
) -> None:
    """Cut off in the middle of the second time through the rows (each process sees six of the twelve)."""
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 8, "max_steps": 10, **CUT_OFF[case]}
    finish(begin(tmp_path / "run", **options))
    whole = history(tmp_path / "run"), weights(tmp_path / "run")
    assert len(whole[0]) == options["max_steps"] and whole[1]
    shutil.rmtree(tmp_path / f"run/checkpoint-{options['max_steps']}")
    for path in (tmp_path / "run").glob("*.safetensors"):
        path.unlink()
    said = finish(begin(tmp_path / "run", **options))
    assert f"going on from {tmp_path / 'run'}/checkpoint-{options['save_steps']}" in said
    assert (history(tmp_path / "run"), weights(tmp_path / "run")) == whole


def finish(run: subprocess.Popen[str]) -> str:
    """What a run said that must end well."""
    said, _ = run.communicate(timeout=240)
    assert run.returncode == 0, said
    return said


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def test_when_one_process_is_killed_the_other_ends_too(
    begin: Callable[..., subprocess.Popen[str]], wait_until: Any, tmp_path: Path
) -> None:
    run = begin(tmp_path / "run", max_steps=100_000)
    log = tmp_path / "run/trainer_log.jsonl"
    wait_until(lambda: log.exists() and b'"current_steps": 2,' in log.read_bytes(), seconds=120)
    workers = [pid for pid in _below(run.pid) if "hone.cli.torchrun" not in _words(pid)]
    os.kill(workers[-1], signal.SIGKILL)
    began = time.monotonic()
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 8, said
    assert time.monotonic() - began < 30
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def _below(pid: int) -> list[int]:
    """All processes that descend from this one."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_below(int(child))]
    return found


def _words(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
