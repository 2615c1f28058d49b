"""The library's trainer with checkpoints that are whole or not there, taken up again to the bit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from hone.errors import CheckpointError
from hone.training.checkpoints import carry, randomness
from hone.training.checkpoints.keeper import Keeper, is_disk
from hone.training.checkpoints.start import STATE
from hone.training.lean import Trainer, TrainerCallback, TrainerState, TrainOutput
from hone.training.tally import Tally

if TYPE_CHECKING:
    import torch
    from torch import nn

OPTIMIZERS = ("optimizer*", "global_step*", "rank*")
"""What the files or folders are called that hold the optimizer's state, here, in DeepSpeed and elsewhere."""


class EvaluationLeft(Exception):  # noqa: N818 - nothing went wrong
    """An evaluation was given up in its middle because the run is to stop."""


class KeepingTrainer(Trainer, ABC):
    """Saves through `keeper` and goes on as if never stopped: also with sums that were not logged yet, and with an
    evaluation that was due and not made."""

    keeper: Keeper
    control: Any
    _measures: Tally
    _place: Path | None = None

    # -- going on --------------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: Any = None, *rest: Any, **more: Any) -> TrainOutput:
        """As in the library; a checkpoint that has all its steps is only loaded, where the library trains one more."""
        checkpoint = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        if checkpoint is not None:
            state = TrainerState.load_from_json(str(checkpoint / STATE))
            if state.global_step >= self.total_steps:
                return self._take_up(checkpoint, state)
            _need_optimizer(checkpoint)
            self.add_callback(TakeUp(self, checkpoint))
        try:
            return super().train(resume_from_checkpoint, *rest, **more)
        except UnpicklingError:
            what = "a file of optimizer, schedule or random numbers holds more than numbers, and is not opened"
            fix = "go on from a checkpoint that you trust, or begin anew with overwrite_output_dir: true"
            raise CheckpointError.one("PICKLE-REFUSED", what, str(checkpoint), fix) from None

    def _take_up(self, checkpoint: Path, state: TrainerState) -> TrainOutput:
        self.state = state
        best = state.best_model_checkpoint if self.args.load_best_model_at_end else None
        self._load(self.model, Path(best) if best and Path(best).is_dir() else checkpoint)
        carried = carry.read(checkpoint)
        if carried is not None and carried.evaluation_due and self.eval_dataset is not None:
            self.make_up_evaluation()
        return TrainOutput(state.global_step, 0.0, {})

    def take_up_sums(self, carried: carry.Carried) -> None:
        """Put back what was summed up since the last log; the mean over this call is left without it."""
        self._tr_loss: torch.Tensor = self._tr_loss + carried.loss_sum
        self._total_loss_scalar = -carried.loss_sum
        self._globalstep_last_logged = carried.logged_at
        if self.args.process_index == 0:  # they are the sums of all processes
            self._measures = Tally.of(carried.measures)

    def make_up_evaluation(self) -> None:
        """The evaluation that the run was stopped before."""
        metrics = self._evaluate(None, None)
        self._determine_best_metric(metrics, None)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self._load(model or self.model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_best_model()
        else:
            self._load(self.model, Path(self.state.best_model_checkpoint))

    @abstractmethod
    def _load(self, model: nn.Module, folder: Path) -> None:
        """Put what a folder holds into the model, and into whatever else learns."""

    @property
    @abstractmethod
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""

    # -- saving ----------------------------------------------------------------------------------------------------

    def _get_output_dir(self, trial: Any) -> str:
        """Where the library makes its checkpoints: while one is made, in the keeper's draft."""
        return str(self._place or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Draft, wait for all, commit. A disk that fails costs this checkpoint and nothing else."""
        step = self.state.global_step
        if self.keeper.last == self.keeper.place(step):
            return
        try:
            self._draft(model, trial, step)
            self._together()
            if self.args.should_save:
                best = self.state.best_model_checkpoint
                self.keeper.commit(step, best=Path(best) if best else None)
            self._together()
        except Exception as reason:
            if not is_disk(reason):
                raise
            self.keeper.fail(step, reason)

    def _draft(self, model: nn.Module, trial: Any, step: int) -> None:
        if self.args.should_save:
            self.keeper.begin(step)
        self._together()
        self._place = self.keeper.draft(step)
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._place = None
        carried = self._carried()
        if self.args.should_save:
            made = self.keeper.draft(step) / self.keeper.place(step).name
            self._name_best()
            self.state.save_to_json(str(made / STATE))
            carried.write(made)

    def _name_best(self) -> None:
        """The library looks for the best checkpoint where it writes; it is, or will be, among the committed ones."""
        best = self.state.best_global_step
        if best and (best == self.state.global_step or self.keeper.place(best).is_dir()):
            self.state.best_model_checkpoint = str(self.keeper.place(best))

    def _carried(self) -> carry.Carried:
        losses = self._of_all_processes(self._tr_loss.item())
        return carry.Carried(
            loss_sum=sum(losses) / len(losses),
            logged_at=self._globalstep_last_logged,
            measures=self._measures.sums(self._of_all_processes),
            evaluation_due=self._evaluation_due(),
        )

    def _evaluation_due(self) -> bool:
        """Whether this step's evaluation is still to come: put off by a stop, or by the end of the epoch."""
        ends = self.args.eval_strategy == "epoch" and float(self.state.epoch or 0).is_integer()
        if not (ends or getattr(self.control, "evaluation_put_off", False)) or self.eval_dataset is None:
            return False
        here = [event for event in self.state.log_history if event.get("step") == self.state.global_step]
        return not any(name.startswith("eval_") for event in here for name in event)

    def _save_rng_state(self, output_dir: str) -> None:
        """As the library's, in plain numbers."""
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        randomness.write(Path(output_dir), process=self.args.process_index, processes=self.args.world_size)

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, model: Any, trial: Any, *rest: Any, **all: Any
    ) -> None:
        """As in the library; an evaluation that is given up leaves a checkpoint that makes up for it."""
        try:
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *rest, **all)
        except EvaluationLeft:
            self.control.evaluation_put_off = True
            self._save_checkpoint(model, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _of_all_processes(self, mine: Any) -> Sequence[Any]:
        """What every process has to say, in the order of their ranks."""
        from accelerate.utils import gather_object

        return gather_object([mine]) if self.args.world_size > 1 else [mine]

    def _together(self) -> None:
        if self.args.world_size > 1:
            self.accelerator.wait_for_everyone()


class TakeUp(TrainerCallback):
    """Puts back, once the loop is set up, what the checkpoint carries."""

    def __init__(self, trainer: KeepingTrainer, checkpoint: Path) -> None:
        self.trainer, self.checkpoint = trainer, checkpoint

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Sums first; then the evaluation, which may become the best."""
        carried = carry.read(self.checkpoint)
        if carried is None:
            return
        self.trainer.take_up_sums(carried)
        if carried.evaluation_due and self.trainer.eval_dataset is not None:
            self.trainer.make_up_evaluation()


def _need_optimizer(checkpoint: Path) -> None:
    if any(True for name in OPTIMIZERS for _ in checkpoint.glob(name)):
        return
    raise CheckpointError.one(
        "CKPT-NO-OPTIMIZER", "the checkpoint has no optimizer state (save_only_model?)", str(checkpoint),
        "to go on with its weights alone, name it as adapter_name_or_path or model_name_or_path of a new run",
    )  # fmt: skip
