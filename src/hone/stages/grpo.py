"""Group-relative policy optimisation: several answers to a question are judged by rewards and compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hone.stages.shared.answering import AnsweringStage
from hone.stages.shared.reference import Materials, reference_of
from hone.stages.shared.rollout import REWARD
from hone.stages.shared.scores import answer_rows
from hone.training.losses.grpo import Clipping, group_advantages, token_losses
from hone.training.stage import Batch, StageLoss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hone.recipe import FinetuningSection


class Stage(AnsweringStage):
    """The loss is a sum over the tokens of answers, and a step's is divided by their number, whatever the answer they
    stand in (as DAPO has it)."""

    name = "grpo"
    measures: tuple[str, ...] = (
        "reward",
        "reward/std",
        "kl",
        "clip_ratio",
        "completion_length",
        "ended",
        "logprob_gap",
    )

    by_token = (*AnsweringStage.by_token, "reference")
    by_answer = (*AnsweringStage.by_answer, "advantages", "spread")

    def __init__(self, finetuning: FinetuningSection) -> None:
        super().__init__(finetuning)
        high = finetuning.epsilon if finetuning.epsilon_high is None else finetuning.epsilon_high
        self.clipping = Clipping(finetuning.epsilon, high, finetuning.beta)
        self.size, self.scale = finetuning.num_generations, finetuning.scale_rewards
        self.buffered, self.passes = finetuning.steps_per_generation, finetuning.num_iterations
        self.compares = finetuning.beta > 0

    def equip(self, model: Any, materials: Materials) -> None:
        """The rewards, what answers are written with, and the reference, if the KL counts."""
        super().equip(model, materials)
        self.reference = reference_of(model, materials) if self.compares else None

    def gather(self, model: nn.Module, batches: Sequence[Batch], *, seed: int) -> list[dict[str, Tensor]]:
        """Answers with `advantages` and the `spread` of rewards in their group [S]; by token [N] the log-probabilities
        of the reference, and of the policy as it is now where it will be another when the answers are learned from."""
        assert self.rollout is not None, "the stage is not equipped"
        made = self.rollout.experience(model, batches, seed=seed)
        for batch in made:
            batch["advantages"] = group_advantages(batch["reward"], self.size, self.scale)
            batch["spread"] = batch["reward"].view(-1, self.size).std(1).repeat_interleave(self.size)
            if self.reference is not None:
                with self.reference.of(model) as reference:
                    batch["reference"] = answer_rows(reference, batch).logprobs
            if self.buffered * self.passes > 1:
                batch["old"] = answer_rows(model, batch).logprobs
        return made

    def loss(self, model: nn.Module, batch: Batch) -> StageLoss:
        """The clipped surrogate and the KL of each token, summed."""
        rows = answer_rows(model, batch)
        old = batch.get("old", rows.logprobs.detach())
        advantages = batch["advantages"].repeat_interleave(rows.counts)
        found = token_losses(rows.logprobs, old, batch.get("reference"), advantages, self.clipping)
        tokens, answers = len(found.losses), len(batch["reward"])
        sums: dict[str, tuple[Tensor | float, int]] = {
            **{name: (batch[name].sum(), answers) for name in batch if name.startswith(REWARD)},
            "reward": (batch["reward"].sum(), answers),
            "reward/std": (batch["spread"].sum(), answers),
            "clip_ratio": (found.clipped.float().sum(), tokens),
            "completion_length": (float(tokens), answers),
            "ended": (batch["ended"].sum(), answers),
            "logprob_gap": ((old - batch["sampled"]).abs().sum(), tokens),
        }
        if self.reference is not None:
            sums["kl"] = (found.kl.sum(), tokens)
        return StageLoss(found.losses.sum(), tokens, sums)
