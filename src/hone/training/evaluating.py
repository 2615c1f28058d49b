"""What the trainer does while it evaluates: the stage's loss and measures over whole sets, and answers if asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from hone.training.checkpoints.randomness import Moment
from hone.training.experience import Gathering
from hone.training.keeping import KeepingTrainer
from hone.training.lean import EvalLoopOutput
from hone.training.stage import Batch, StageLearning
from hone.training.tally import Sums, Tally, means

if TYPE_CHECKING:
    from torch.utils.data import Sampler


class EvaluatingTrainer(KeepingTrainer):
    """Evaluates by the loss of `stage`; several processes share the examples."""

    stage: StageLearning
    answering: Callable[..., Mapping[str, float]] | None = None
    """Further measures of an evaluation, made of answers that the model generates."""
    _evaluated: dict[str, Sums]
    """The sums of the last evaluation of each set, by the prefix of its metrics."""

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """As in the library; of several sets also `eval_loss`, over all their label tokens. Draws nothing at random
        that training would draw: with or without evaluations a run learns the same."""
        moment = Moment()
        try:
            metrics: dict[str, float] = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        finally:
            moment.back()
        several = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(several, dict):
            parts = [self._evaluated[f"{metric_key_prefix}_{name}"]["loss"] for name in several]
            whole = {f"{metric_key_prefix}_loss": sum(loss for loss, _ in parts) / sum(count for _, count in parts)}
            self.log(dict(whole))
            metrics |= whole
        return metrics

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Several processes share the examples; none is done twice, as the library would to fill batches."""
        if self.args.world_size == 1 or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return super().get_eval_dataloader(eval_dataset)
        named = self.eval_dataset[eval_dataset] if isinstance(eval_dataset, str) else eval_dataset
        data = self.eval_dataset if named is None else named
        return torch.utils.data.DataLoader(
            torch.utils.data.Subset(data, range(self.args.process_index, len(data), self.args.world_size)),
            batch_size=self.args.eval_batch_size,
            collate_fn=self.stage.collate,
            num_workers=self.args.dataloader_num_workers,
        )

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: Any = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The stage's loss and measures over a whole set, weighted by label tokens, not by batches."""
        self.model.eval()
        self.callback_handler.eval_dataloader = dataloader
        tally = Tally()
        for batch in dataloader:
            moved = self._prepare_inputs(batch)
            for one in self._gathered([moved]):
                with torch.no_grad(), self.accelerator.autocast():
                    tally.add(self.stage.loss(self.model, one))
            self._pause()
        sums = self._evaluated[metric_key_prefix] = tally.sums(self._of_all_processes)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in means(sums).items()}
        metrics |= self.stage.summary(metrics, metric_key_prefix)
        if self.answering is not None:
            metrics |= self.answering(self.model, metric_key_prefix, self._of_all_processes, self._pause)
        samples = sum(self._of_all_processes(self.num_examples(dataloader)))
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=samples)

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        return torch.utils.data.SequentialSampler(eval_dataset)

    def _pause(self) -> None:
        """A long evaluation lets the onlookers have their say."""
        self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

    def _gathered(self, prompts: Sequence[Batch]) -> Sequence[Batch]:
        """Batches of prompts as experience; batches of any other stage as they are."""
        if not isinstance(self.stage, Gathering):
            return prompts
        moved = [self._prepare_inputs(batch) for batch in prompts]
        with torch.no_grad(), self.accelerator.autocast():
            return self.stage.gather(self.model, moved, seed=self._draw())

    def _draw(self) -> int:
        """What the draws of a gathering follow from: the run's seed, the step, the process."""
        return int((self.args.seed * 1_000_003 + self.state.global_step) * self.args.world_size) + int(
            self.args.process_index
        )
