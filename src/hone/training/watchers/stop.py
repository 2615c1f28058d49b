"""Ends a training when a signal came: at the end of a step, with a checkpoint, on all processes at the same step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hone.training.checkpoints.keeper import Keeper
from hone.training.keeping import EvaluationLeft
from hone.training.lean import TrainerCallback
from hone.training.stop import Stop


class StopWatcher(TrainerCallback):
    """Turns a signal into a checkpoint and Stopped. `agree` gives the largest number that a process of several names;
    None where there is only one."""

    def __init__(self, stop: Stop, keeper: Keeper) -> None:
        self.stop, self.keeper = stop, keeper
        self.agree: Callable[[int], int] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """From now on there is something to save."""
        self.stop.patient = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save, and put an evaluation off: it would take longer than the signal's sender may wait."""
        if self.agree is not None:
            self.stop.number = self.agree(self.stop.number)
        if self.stop.number and state.global_step < state.max_steps:
            control.evaluation_put_off = control.should_evaluate
            control.should_evaluate, control.should_save = False, True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Give an evaluation up that is being made while a signal comes (one process alone can decide that)."""
        if self.stop.number and self.agree is None and self.stop.patient:
            raise EvaluationLeft

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is on the disk, unless the keeper says why not."""
        if self.stop.number and state.global_step < state.max_steps:
            self.keeper.settle()
            self.stop.check()
