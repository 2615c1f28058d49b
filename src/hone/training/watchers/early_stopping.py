"""Early stopping: end the run when so many evaluations in a row brought nothing better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hone.log import say
from hone.training.lean import TrainerCallback


class EarlyStopping(TrainerCallback):
    """Counts from the history of the run alone, so that a resumed run counts on where it was."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each evaluation of the metric that decides."""
        name = args.metric_for_best_model or "loss"
        name = name if name.startswith("eval_") else f"eval_{name}"
        waited = evaluations_since_best(state.log_history, name, greater_is_better=bool(args.greater_is_better))
        if waited >= self.patience and not control.should_training_stop:
            say(f"early stopping at step {state.global_step}: {name} has not improved in {waited} evaluations")
            control.should_training_stop = True


def evaluations_since_best(history: Sequence[Mapping[str, Any]], name: str, *, greater_is_better: bool) -> int:
    """How many of the last evaluations did not beat the best value of `name` before them."""
    values = [event[name] for event in history if name in event]
    if not values:
        return 0
    best = max(values) if greater_is_better else min(values)
    return len(values) - 1 - values.index(best)
