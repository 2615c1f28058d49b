"""Direct preference optimisation and its kin: learn from a better and a worse answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.models.pictures import anchored
from hone.rundir import write_json
from hone.stages.shared.pairs import PairStage, halves
from hone.stages.shared.reference import Materials, Reference, reference_of
from hone.stages.shared.scores import Rows, Scores, answer_rows
from hone.training.losses.bco import RunningMean, bco_losses, mixed
from hone.training.losses.pairs import Pairs, Strength
from hone.training.losses.preference import load_loss, measures_of
from hone.training.stage import Batch, StageLoss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hone.recipe import FinetuningSection

STATE = "reward_baseline.json"


class Stage(PairStage):
    """The loss is that of `pref_loss`, a file in `training/losses/preference`; BCO and a loss on the better answer may
    be mixed in."""

    name = "dpo"
    measures: tuple[str, ...] = (
        "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins",
        "logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected",
    )  # fmt: skip
    curves = ("rewards/accuracies",)

    def __init__(self, finetuning: FinetuningSection) -> None:
        self.kind = finetuning.pref_loss
        self.strength = Strength(finetuning.pref_beta, finetuning.dpo_label_smoothing, finetuning.simpo_gamma)
        self.learn_chosen, self.bco, self.tail = finetuning.pref_ftx, finetuning.pref_bco_weight, finetuning.ld_alpha
        self.adds_up = not self.bco and self.kind != "kto_pair"  # those look at the other rewards of a micro-batch
        self.baseline = RunningMean()
        self.compares = load_loss(self.kind).REFERENCE
        self.reference: Reference | None = None
        if self.kind == "orpo":
            self.measures = (*self.measures, "sft_loss", "odds_ratio_loss")

    def equip(self, model: Any, materials: Materials) -> None:
        """The reference, for a loss that has one."""
        self.reference = reference_of(model, materials) if self.compares else None

    def cut(self, batch: Batch) -> Sequence[Batch]:
        """Between two pairs, if the loss of a pair is its own."""
        return super().cut(batch) if self.adds_up else ()

    def loss(self, model: nn.Module, batch: Batch) -> StageLoss:
        """The loss of each pair, summed; rewards are beta times the log-ratio to the reference."""
        before = None
        if self.reference is not None:
            with self.reference.of(model) as reference:
                before = answer_rows(reference, batch)
        rows = answer_rows(model, batch)
        scores = rows.scores()
        policy = scores.sums if self.tail is None else rows.discounted(self.tail)
        pairs = self._pairs(policy, scores, before)
        losses = load_loss(self.kind).losses(pairs, self.strength)
        if self.bco:
            losses = mixed(losses, self._bco(pairs, learns=model.training), self.bco)
        if self.learn_chosen:
            losses = losses - self.learn_chosen * halves(policy / scores.counts.clamp(min=1))[0]
        return StageLoss(anchored(model, losses.sum(), batch), len(losses), self._measured(pairs, scores))

    def _pairs(self, policy: Tensor, scores: Scores, before: Rows | None) -> Pairs:
        reference = policy.detach() * 0 if before is None else before.scores().sums
        if load_loss(self.kind).AVERAGED:
            policy, reference = policy / scores.counts.clamp(min=1), reference / scores.counts.clamp(min=1)
        return Pairs(*halves(policy), *halves(reference))

    def _bco(self, pairs: Pairs, *, learns: bool) -> Tensor:
        """The baseline is the mean of all rewards seen in training, this batch's among them."""
        if learns:
            mean, count = _of_all(self._rewards(pairs))
            self.baseline.take(mean, count)
        return bco_losses(pairs, self.strength, self.baseline.mean)

    def _rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        beta = self.strength.beta
        return beta * pairs.chosen_ratios.detach(), beta * pairs.rejected_ratios.detach()

    def _measured(self, pairs: Pairs, scores: Scores) -> Mapping[str, tuple[Tensor | float, int]]:
        better, worse = self._rewards(pairs)
        by_pair = {
            "rewards/chosen": better,
            "rewards/rejected": worse,
            "rewards/accuracies": (better > worse).float(),
            "rewards/margins": better - worse,
            "logps/chosen": pairs.chosen.detach(),
            "logps/rejected": pairs.rejected.detach(),
            **{name: value.detach() for name, value in measures_of(load_loss(self.kind), pairs).items()},
        }
        found: dict[str, tuple[Tensor | float, int]] = {name: (v.sum(), len(v)) for name, v in by_pair.items()}
        for name, logits, counts in zip(
            ("chosen", "rejected"), halves(scores.logits), halves(scores.counts), strict=True
        ):
            found[f"logits/{name}"] = (logits.sum(), int(counts.sum()))
        return found

    def keep(self, folder: Path) -> None:
        """The baseline of BCO."""
        if self.bco:
            write_json(folder / STATE, {"mean": self.baseline.mean, "count": self.baseline.count})

    def take_up(self, model: Any, folder: Path) -> None:
        """The baseline of BCO, if the run had got as far as to have one."""
        if self.bco and (folder / STATE).is_file():
            self.baseline = RunningMean(**json.loads((folder / STATE).read_text("utf-8")))


def _of_all(rewards: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
    """The mean reward over both answers and all processes, and how many rewards it is of."""
    import torch
    from torch import distributed

    both = torch.cat(rewards)
    sums = torch.stack([both.double().sum(), both.new_tensor(len(both)).double()])
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(sums)
    return sums[0] / sums[1], int(sums[1])
