"""`trainer_log.jsonl`: one JSON object for each event of a run, which every viewer reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hone.rundir import write_text
from hone.training.lean import TrainerCallback
from hone.training.pace import Pace, clock

LOG = "trainer_log.jsonl"
EVERY = 5
"""A pure evaluation writes a line each so many batches."""


def read_log(file: Path) -> Iterator[dict[str, Any]]:
    """The events of a log. A line that is no JSON object (torn by a crash) is passed over."""
    if not file.is_file():
        return
    for line in file.read_text("utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


class LogWriter(TrainerCallback):
    """Appends to the log. A resumed run first takes away the lines of the steps it is about to do again."""

    def __init__(
        self, folder: Path, pace: Pace, *, anew: bool, memory: Callable[[Any], Mapping[str, float]] | None = None
    ) -> None:
        """`memory` says of a device what is in use there, for every line of a training."""
        self.file = folder / LOG
        self.pace, self.memory = pace, memory
        self.total = 0
        self.batches = 0
        if anew:
            self.file.unlink(missing_ok=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin the clock; keep the lines up to the step that the run goes on from."""
        self.pace.restart()
        self.total = state.max_steps
        if state.is_world_process_zero and self.file.is_file():
            kept = [event for event in read_log(self.file) if event.get("current_steps", 0) <= state.global_step]
            write_text(self.file, "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in kept))

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """One line for a training log, an evaluation, or the end."""
        logs = logs or {}
        losses = {name: logs[name] for name in logs if name.endswith("_loss") and name != "train_loss"}
        event = {
            "loss": logs.get("loss"),
            **losses,
            "reward": logs.get("reward"),
            "accuracy": logs.get("rewards/accuracies"),
            "lr": logs.get("learning_rate"),
            "epoch": logs.get("epoch"),
            **(self.memory(args.device) if self.memory is not None else {}),
        }
        self._write(state, state.global_step, self.total or state.max_steps, event, start=state)

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any) -> None:
        """During a pure evaluation: how far it is."""
        if self.total:
            return
        self.batches += 1
        if self.batches % EVERY == 0 and eval_dataloader is not None:
            self._write(state, self.batches, len(eval_dataloader), {})

    def _write(self, state: Any, done: int, total: int, event: Mapping[str, Any], start: Any = None) -> None:
        if not state.is_world_process_zero:
            return
        tokens = getattr(state, "num_input_tokens_seen", 0)
        line = {
            "current_steps": done,
            "total_steps": total,
            **{name: value for name, value in event.items() if value is not None},
            "percentage": round(done / total * 100, 2) if total else 100.0,
            "elapsed_time": clock(self.pace.seconds),
            "remaining_time": clock(self.pace.remaining(done, total)),
            **({"throughput": round(self.pace.tokens_per_second, 2), "total_tokens": tokens} if tokens else {}),
        }
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
