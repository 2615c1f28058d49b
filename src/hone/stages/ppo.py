"""Proximal policy optimisation: answers are judged by a reward model, and each token by a value head of the policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hone.models.value_head import add_value_head, load_value_head
from hone.rundir import write_json
from hone.stages.shared.answering import AnsweringStage
from hone.stages.shared.reference import Materials, reference_of
from hone.stages.shared.rollout import REWARD
from hone.stages.shared.scores import answer_rows
from hone.stages.shared.values import saved_beside, valued_rows
from hone.training.losses import ppo
from hone.training.losses.ppo import Moments, moments_of
from hone.training.stage import Batch, StageLoss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hone.recipe import FinetuningSection

STATE = "ppo.json"
"""What a run goes on from beside the weights: the KL's coefficient, and the scores seen."""


class Stage(AnsweringStage):
    """The loss is a sum over the tokens of answers: the clipped surrogate, and the weighed error of the value."""

    name = "ppo"
    compares = True
    measures: tuple[str, ...] = (
        "reward", "kl", "kl_coefficient", "policy_loss", "value_loss", "clip_ratio", "value_clip_ratio",
        "completion_length", "ended", "logprob_gap",
    )  # fmt: skip

    by_token = (*AnsweringStage.by_token, "values", "advantages", "returns")
    by_answer = (*AnsweringStage.by_answer, "kl", "coefficient")

    def __init__(self, finetuning: FinetuningSection) -> None:
        super().__init__(finetuning)
        self.buffered, self.passes = finetuning.ppo_buffer_size, finetuning.ppo_epochs
        self.normal, self.whiten = finetuning.ppo_score_norm, finetuning.ppo_whiten_rewards
        self.target, self.coefficient = finetuning.ppo_target, ppo.FIRST_COEFFICIENT
        self.seen = Moments()

    def equip(self, model: Any, materials: Materials) -> None:
        """The reward model and the reference, which have no value head for tokens, and then the policy's."""
        super().equip(model, materials)
        self.reference = reference_of(model, materials)
        add_value_head(model, saved_beside(materials))

    def gather(self, model: nn.Module, batches: Sequence[Batch], *, seed: int) -> list[dict[str, Tensor]]:
        """Answers with, by token [N], `old` log-probabilities and `values` of the policy that wrote them, without
        dropout, `advantages` (white over all of them) and `returns`; and [S] `kl`, that of each answer, summed."""
        assert self.rollout is not None and self.reference is not None, "the stage is not equipped"
        learning = model.training
        made = self.rollout.experience(model, batches, seed=seed)
        model.eval()
        try:
            asked = [valued_rows(model, batch) for batch in made]
        finally:
            model.train(learning)
        scores = self._scores([batch["reward"] for batch in made], learning)
        rewards = []
        for batch, rows, score in zip(made, asked, scores, strict=True):
            with self.reference.of(model) as reference:
                known = answer_rows(reference, batch).logprobs
            apart = rows.logprobs - known
            batch |= {"old": rows.logprobs, "values": rows.values}
            batch["kl"] = torch.segment_reduce(apart, "sum", lengths=rows.counts, initial=0)
            batch["coefficient"] = torch.full_like(score, self.coefficient)
            rewards.append(ppo.token_rewards(rows.logprobs, known, score, rows.counts, self.coefficient))
        if self.whiten:
            spread = _of_all(torch.cat(rewards), learning)
            rewards = [ppo.whitened(one, spread, shift=False) for one in rewards]
        for batch, rows, reward in zip(made, asked, rewards, strict=True):
            batch["advantages"] = ppo.advantages_of(reward, rows.values, rows.counts.tolist())
            batch["returns"] = batch["advantages"] + rows.values
        white = _of_all(torch.cat([batch["advantages"] for batch in made]), learning)
        for batch in made:
            batch["advantages"] = ppo.whitened(batch["advantages"], white)
        if learning:
            drift = _of_all(torch.cat([batch["kl"] for batch in made]), learning)
            self.coefficient = ppo.next_coefficient(
                self.coefficient, drift.mean, target=self.target, answers=int(drift.count)
            )
        return made

    def _scores(self, scores: Sequence[Tensor], learning: bool) -> list[Tensor]:
        """As they are, or normal among all that training has seen."""
        if not self.normal:
            return list(scores)
        seen = self.seen.with_more(_of_all(torch.cat(list(scores)), learning))
        if learning:
            self.seen = seen
        return [seen.normal(one) for one in scores]

    def loss(self, model: nn.Module, batch: Batch) -> StageLoss:
        """The clipped surrogate of each token and the error of its value, summed."""
        rows = valued_rows(model, batch)
        policy, clipped = ppo.policy_losses(rows.logprobs, batch["old"], batch["advantages"])
        value, bounded = ppo.value_losses(rows.values, batch["values"], batch["returns"])
        tokens, answers = len(policy), len(batch["reward"])
        sums: dict[str, tuple[Tensor | float, int]] = {
            **{name: (batch[name].sum(), answers) for name in batch if name.startswith(REWARD)},
            "reward": (batch["reward"].sum(), answers),
            "kl": (batch["kl"].sum(), answers),
            "kl_coefficient": (batch["coefficient"].sum(), answers),
            "policy_loss": (policy.detach().sum(), tokens),
            "value_loss": (value.detach().sum(), tokens),
            "clip_ratio": (clipped.float().sum(), tokens),
            "value_clip_ratio": (bounded.float().sum(), tokens),
            "completion_length": (float(tokens), answers),
            "ended": (batch["ended"].sum(), answers),
            "logprob_gap": ((batch["old"] - batch["sampled"]).abs().sum(), tokens),
        }
        return StageLoss((policy + ppo.VALUE_WEIGHT * value).sum(), tokens, sums)

    def keep(self, folder: Path) -> None:
        """The KL's coefficient and the scores seen."""
        write_json(folder / STATE, {"coefficient": self.coefficient, "scores": asdict(self.seen)})

    def take_up(self, model: Any, folder: Path) -> None:
        """These, and the value head as it was saved."""
        load_value_head(model, folder)
        if (folder / STATE).is_file():
            found = json.loads((folder / STATE).read_text("utf-8"))
            self.coefficient, self.seen = float(found["coefficient"]), Moments(**found["scores"])


def _of_all(values: Tensor, learning: bool) -> Moments:
    """The moments of what all processes have. Evaluation is not in step among them: there each has its own."""
    from torch import distributed

    mine = moments_of(values)
    if not (learning and distributed.is_available() and distributed.is_initialized()):
        return mine
    whole = Moments()
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, (mine.count, mine.mean, mine.squares))
    for part in parts:
        whole = whole.with_more(Moments(*part))
    return whole
