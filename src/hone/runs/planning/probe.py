"""Three real steps on the longest examples, nothing saved: how much memory they take, and how fast they are."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hone.runs.planning.gather import Gathered

STEPS = 3


@dataclass(frozen=True)
class Probe:
    """`peak` is in bytes: of the process on a processor, of the device's memory elsewhere."""

    peak: int
    seconds_a_token: float


def probe(made: Gathered) -> Probe:
    """Trains the built model for three steps, the longest micro-batch first; the model is of no use afterwards."""
    from hone.training.arguments import trainer_arguments
    from hone.training.optimizers import chosen_optimizer
    from hone.training.trainer import StageTrainer

    recipe, old = made.recipe, made.arguments
    import torch

    autocast = torch.bfloat16 if old.bf16 else torch.float16 if old.fp16 else None
    with tempfile.TemporaryDirectory(prefix="hone-plan-") as place:
        few = {
            "max_steps": STEPS, "save_strategy": "no", "eval_strategy": "no", "report_to": "none",
            "load_best_model_at_end": False, "logging_steps": 1000, "output_dir": place,
        }  # fmt: skip
        section = replace(recipe.training, output_dir=place, arguments={**recipe.training.arguments, **few})
        clock = _clock()
        trainer = StageTrainer(
            made.model, trainer_arguments(section, autocast=autocast), made.stage, write=_write_nothing,
            train=_longest_first(made), shuffle=False, watchers=[clock], optimizer=chosen_optimizer(recipe.finetuning),
        )  # fmt: skip
        trainer.train()
    a_step = made.work.tokens * made.arguments.gradient_accumulation_steps
    return Probe(_peak(made), _a_step(clock.times, made.stage) / max(a_step, 1))


def _a_step(times: list[float], stage: Any) -> float:
    """Seconds of a step in the mean. The first warms up, and is left out where there are others; where it alone wrote
    the answers that several learn from, it counts as one among them."""
    others = times[1:] or times
    mean = sum(others) / max(len(others), 1)
    several = getattr(stage, "buffered", 1) * getattr(stage, "passes", 1)
    return (times[0] + (several - 1) * mean) / several if several > 1 and times else mean


def _longest_first(made: Gathered) -> Any:
    """The longest micro-batch, again and again: the peak is that of the run, and a token's time is little higher."""
    size = made.recipe.training.per_device_train_batch_size
    longest = made.train.lengths.argsort()[::-1][:size]
    times = STEPS * made.arguments.gradient_accumulation_steps
    return made.train.select([int(number) for _ in range(times) for number in longest])


def _clock() -> Any:
    from hone.training.lean import TrainerCallback

    class Clock(TrainerCallback):
        """How long each step took, with what had to be read or written for it."""

        def __init__(self) -> None:
            self.times: list[float] = []
            self.began = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            """Start."""
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """Stop, and start again."""
            now = time.perf_counter()
            self.times.append(now - self.began)
            self.began = now

    return Clock()


def _write_nothing(model: Any, place: Path) -> None:
    """A probe saves nothing."""


def _peak(made: Gathered) -> int:
    import torch

    if made.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(made.device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
