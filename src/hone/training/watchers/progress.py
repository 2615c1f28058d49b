"""What the terminal shows of a run: a live bar, or where there is no terminal one plain line for each log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hone.log import is_live
from hone.training.lean import TrainerCallback
from hone.training.pace import Pace, clock


class Progress(TrainerCallback):
    """Steps done, loss, learning rate, tokens per second (no padding among them) and the time left."""

    def __init__(self, pace: Pace, *, live: bool | None = None, plain: bool = True) -> None:
        self.pace = pace
        self.live = is_live() if live is None else live
        self.plain = plain and not self.live
        self.bar: Any = None
        self.task: Any = None
        self.last: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Put up the bar."""
        if self.live and state.is_local_process_zero:
            self.bar = _bar()
            self.task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step, notes="")
            self.bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar on."""
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step, notes=self._notes(state))

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """A line of numbers, each of four digits."""
        shown = {name: four_digits(value) for name, value in (logs or {}).items()}
        self.last |= {name: shown[name] for name in ("loss", "learning_rate", "eval_loss") if name in shown}
        if self.bar is not None:
            self.bar.update(self.task, notes=self._notes(state))
        elif self.plain and state.is_local_process_zero and "train_runtime" not in shown:
            left = clock(self.pace.remaining(state.global_step, state.max_steps))
            step = f"step {state.global_step}/{state.max_steps}" if state.max_steps else "evaluation"
            print(f"{step} {shown} {self.pace.tokens_per_second:.0f} tokens/s, {left} left", flush=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the finished bar standing."""
        self.close()

    def close(self) -> None:
        """Take the bar out of the way, also when the run fails."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _notes(self, state: Any) -> str:
        words = [f"{name} {self.last[key]}" for key, name in NAMES.items() if key in self.last]
        left = clock(self.pace.remaining(state.global_step, state.max_steps))
        return "  ".join([*words, f"{self.pace.tokens_per_second:.0f} tok/s", f"{left} left"])


NAMES = {"loss": "loss", "eval_loss": "eval", "learning_rate": "lr"}


def four_digits(value: Any) -> str:
    """A number as the console shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[notes]}"),
        console=Console(stderr=True),
    )  # fmt: skip
