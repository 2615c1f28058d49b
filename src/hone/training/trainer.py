"""The one trainer: `transformers.Trainer`, asking the stage for its loss and never asking which stage it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hone.training.audit import Audit, watch_numbers
from hone.training.checkpoints.keeper import Keeper
from hone.training.checkpoints.weights import load_weights
from hone.training.diagnosis import explain
from hone.training.evaluating import EvaluatingTrainer
from hone.training.experience import Buffer, Gathering
from hone.training.halving import Halving
from hone.training.lean import PrinterCallback
from hone.training.order import SeededOrder, in_reach
from hone.training.pace import Pace
from hone.training.stage import Batch, StageLearning, StageLoss
from hone.training.tally import Tally, means
from hone.training.utilisation import arithmetic_of, speeds

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.data import Sampler

    from hone.training.lean import Seq2SeqTrainingArguments, TrainerCallback

WriteModel = Callable[[Any, Path], None]
"""Puts the model that is trained (adapter or weights) and its tokenizer into a folder."""

MakeOptimizer = Callable[[Any, Any], Any]
"""Makes an optimizer of the model and the trainer's arguments, in place of the one that `optim` names."""


class StageTrainer(EvaluatingTrainer):
    """Trains `model` by the loss of `stage`.

    The gradient of one optimizer step is that of (sum of all losses) / (number of all label tokens), over all its
    micro-batches and processes: how the examples are cut into batches changes nothing but rounding.
    """

    loss_is_scaled_for_ga = True
    optimizer: Any

    def __init__(
        self,
        model: nn.Module,
        args: Seq2SeqTrainingArguments,
        stage: StageLearning,
        *,
        write: WriteModel,
        train: Sequence[Any] | torch.utils.data.IterableDataset[Any] | None = None,
        evals: Mapping[str, Sequence[Any]] | None = None,
        shuffle: bool = True,
        keeper: Keeper | None = None,
        watchers: Sequence[TrainerCallback] = (),
        pace: Pace | None = None,
        optimizer: MakeOptimizer | None = None,
    ) -> None:
        self.stage = stage
        self.pace = pace or Pace()
        self.keeper = keeper or Keeper(Path(args.output_dir), alone=args.world_size == 1)
        # The library rotates at once and by file times; the keeper does it once something newer is on the disk.
        self.keeper.limit, args.save_total_limit = args.save_total_limit or self.keeper.limit, None
        self._make_optimizer = optimizer
        self._write, self._shuffle = write, shuffle
        self._step_losses: list[Tensor] = []
        self._measures = Tally()
        self._unproven: list[StageLoss] = []
        """Measures of forwards whose backward is still to come."""
        self.steps_done = 0
        """Optimizer steps of this run alone, without those of the run it goes on from."""
        self._evaluated = {}
        sets = dict(evals or {})
        if isinstance(train, torch.utils.data.IterableDataset):
            # A stream's batches are of many shapes: they are taken as they come, not cut up and sent around.
            args.accelerator_config.dispatch_batches = False
        super().__init__(
            model=model,
            args=args,
            data_collator=stage.collate,
            train_dataset=train,
            eval_dataset=sets[""] if set(sets) == {""} else (sets or None),
            callbacks=list(watchers),
        )
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)
        self._parameters_without_embeddings = _count_parameters(model)
        self.arithmetic = arithmetic_of(model, logits=stage.reads_logits)
        self.audit = Audit(model, quiet=not self.is_world_process_zero(), guessable=getattr(stage, "guessable", False))
        self.buffer = Buffer(stage.buffered, stage.passes) if isinstance(stage, Gathering) else None
        self.halving = Halving(halves=stage.cut, clear=model.zero_grad, alone=self._is_alone())

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        if self.args.max_steps > 0:
            return int(self.args.max_steps)
        batches = len(self.train_dataset) / (self.args.train_batch_size * self.args.world_size)
        whole = math.floor(batches) if self.args.dataloader_drop_last else math.ceil(batches)
        steps = max(math.ceil(whole / self.args.gradient_accumulation_steps), 1)
        return math.ceil(self.args.num_train_epochs * steps)

    # -- the order of the examples ---------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        """Seeded and resumable. Batches hold no padding: grouping by length would only change the order."""
        data = self.train_dataset if train_dataset is None else train_dataset
        if not self._shuffle or self.args.train_sampling_strategy == "sequential":
            return torch.utils.data.SequentialSampler(data)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return SeededOrder(len(data), seed=seed)

    def get_train_dataloader(self) -> Any:
        """As in the library; the order is told each epoch."""
        return in_reach(super().get_train_dataloader())

    def create_optimizer(self, model: Any = None) -> Any:
        """The optimizer that the run brought, else the library's."""
        if self._make_optimizer is None or self.optimizer is not None:
            return super().create_optimizer(model)
        self.optimizer = self._make_optimizer(self.model if model is None else model, self.args)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The library's. `warmup_stable_decay` needs lengths: where none are given, a third of what follows the warm-up
        is stable and the rest decays."""
        given = dict(self.args.lr_scheduler_kwargs or {})
        if self.args.lr_scheduler_type == "warmup_stable_decay" and "num_decay_steps" not in given:
            left = num_training_steps - self.args.get_warmup_steps(num_training_steps)
            self.args.lr_scheduler_kwargs = given | {"num_decay_steps": left - given.get("num_stable_steps", left // 3)}
        return super().create_scheduler(num_training_steps, optimizer)

    # -- experience ------------------------------------------------------------------------------------------------

    def get_batch_samples(self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device) -> Any:
        """The micro-batches of a step; those of a stage that generates are made of prompts."""
        if self.buffer is None:
            return super().get_batch_samples(epoch_iterator, num_batches, device)
        self.model.train()  # the library says so only later, and after an evaluation not yet
        batches = self.buffer(epoch_iterator, num_batches, self._gathered)
        return batches, self._get_num_items_in_batch(batches, device) if batches else None

    # -- the loss --------------------------------------------------------------------------------------------------

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Tensor:
        """What the step's loss is divided by: the label tokens of all its micro-batches, on all processes."""
        if not self.steps_done:
            self.audit.look_at_batches(batch_samples)
        count = torch.stack([self.stage.weight(batch) for batch in batch_samples]).sum().to(device)
        return self.accelerator.reduce(count, "sum") if self.args.world_size > 1 else count

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """This micro-batch's share of the step's loss (times the processes, whose gradients are then averaged)."""
        found = self.stage.loss(model, inputs)
        self._unproven.append(found)
        self.halving.backward_began = True
        items = found.count if num_items_in_batch is None else num_items_in_batch
        items = items.clamp(min=1) if isinstance(items, torch.Tensor) else max(items, 1)
        loss = found.total * (self.args.world_size / items)
        return (loss, found) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Forward and backward of one micro-batch; the loss is kept for the check before the optimizer steps."""
        done = len(self.halving.done)

        def work(batch: Batch) -> Tensor:
            self._unproven = []
            loss = super(StageTrainer, self).training_step(model, dict(batch), num_items_in_batch)
            if len(self.halving.done) == done and not self.halving.repeats:
                for found in self._unproven:
                    self._measures.add(found, loss=False)
            return loss

        loss = self.halving(inputs, work)
        self._step_losses.append(loss)
        self.pace.tokens += inputs["input_ids"].numel() * self.args.world_size
        self.pace.operations += self.arithmetic.of(inputs) * self.args.world_size
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The last stop before the optimizer steps: nothing that is not a number gets past it."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        losses, self._step_losses = self._step_losses, []
        self.audit.look_at_gradients(losses)
        scaled = getattr(self.accelerator, "scaler", None) is not None
        step = self.state.global_step + 1
        watch_numbers(losses, None if scaled else norm, step=step, log=self.log, explain=self._explain)
        self.halving.next_step()
        self.steps_done += 1
        return norm

    def _explain(self) -> str:
        """Which of the step's examples, and which layer, brought up a number that is none. Alone, on whole models."""
        if not self._is_alone():
            return ""
        self.model.train()
        suspects = ((name, self._prepare_inputs(batch)) for name, batch in self._suspects())
        return explain(self.model, self.stage, suspects, autocast=self.accelerator.autocast)

    def _suspects(self) -> Iterator[tuple[str, Batch]]:
        """The examples of this step, each as a batch of its own, with its number; of a stream, its micro-batches."""
        data = self.train_dataset
        if self.buffer is not None or isinstance(data, torch.utils.data.IterableDataset):
            yield from ((f"micro-batch {number}", batch) for number, batch in enumerate(self.halving.done, 1))
            return
        rows = getattr(data, "rows", None)
        for number in self._numbers_of_step():
            row = f" (row {int(rows[number]) + 1} of its file)" if rows is not None else ""
            yield f"example {number}{row}", self.stage.collate([data[number]])

    def _numbers_of_step(self) -> list[int]:
        """Which examples the step that is being made is over: they follow from the order and the step alone."""
        size, passes = self.args.train_batch_size, self.args.gradient_accumulation_steps
        batches = len(self.get_train_dataloader())
        steps = max(math.ceil(batches / passes), 1)
        epoch, step = divmod(self.state.global_step, steps)
        order = self._get_train_sampler()
        if isinstance(order, SeededOrder):
            order.set_epoch(epoch)
        first = step * passes * size
        return list(order or ())[first : first + passes * size]

    def _is_alone(self) -> bool:
        """Whether this process has the whole model and nobody waits for it."""
        return self.args.world_size == 1 and not self.is_fsdp_enabled and not self.is_deepspeed_enabled

    def agree(self, number: int) -> int:
        """The largest of the numbers that the processes name."""
        mine = torch.tensor([number], device=self.args.device)
        return int(self.accelerator.gather(mine).max())

    def speeds(self, seconds: float) -> dict[str, float]:
        """Real tokens and operations a second of what was trained in that time, and the share of the device's peak."""
        dtype = torch.bfloat16 if self.args.bf16 else torch.float16 if self.args.fp16 else self.model.dtype
        place = {"device": self.args.device, "processes": self.args.world_size}
        return speeds(self.pace, seconds=seconds, dtype=dtype, **place)

    def floating_point_ops(self, inputs: Batch) -> int:
        """Six for each token and weight outside the embeddings, as transformers counts."""
        return int(6 * inputs["input_ids"].numel() * self._parameters_without_embeddings)

    # -- logs and files --------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in the library, with the stage's own measures beside the loss."""
        if "loss" in logs:
            measured = means(self._measures.sums(self._of_all_processes))
            logs |= measured | self.stage.summary(measured, "")
            self._measures = Tally()
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write the model through `write`. The arguments are in the run's recipe: no pickle is left behind."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self._write(self.model, folder)
        self.stage.keep(folder)

    def _load(self, model: nn.Module, folder: Path) -> None:
        """The weights, and what the stage keeps beside them."""
        load_weights(model, folder)
        self.stage.take_up(model, folder)


def _count_parameters(model: nn.Module) -> int:
    counted = getattr(model, "num_parameters", None)
    return int(counted(exclude_embeddings=True)) if counted else sum(math.prod(p.shape) for p in model.parameters())
