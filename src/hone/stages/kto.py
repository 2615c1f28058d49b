"""KTO: learn from single answers that were liked or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from hone.data.batch import collate, picked
from hone.data.encode import encode_feedback
from hone.data.feedback import judged
from hone.data.stage import Encoded, Limits
from hone.dialogue.example import Example
from hone.dialogue.records import Feedback
from hone.models.pictures import anchored
from hone.stages.shared.cutting import cut_rows
from hone.stages.shared.plain import PlainStage
from hone.stages.shared.reference import Materials, Reference, reference_of
from hone.stages.shared.scores import Scores, answer_rows
from hone.training.losses.kto import drift_of, kto_losses
from hone.training.stage import Batch, StageLoss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hone.recipe import FinetuningSection

DRIFT = "kl_"
"""What the keys of the answers begin with from which the drift of the policy is measured."""
WHOLE = "whole_good"
"""In a part of a micro-batch: which answers of the whole one were liked."""


class Stage(PlainStage):
    """Each answer is judged against the drift of the policy, which is measured, once for each micro-batch, on answers
    that belong to other questions. The loss is a sum over answers."""

    name = "kto"
    record = Feedback
    joining: Literal["fit", "stream"] = "fit"
    parts = ("", DRIFT)
    measures = (
        "rewards/chosen", "rewards/rejected", "rewards/margins",
        "logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected", "kl",
    )  # fmt: skip
    curves = ("rewards/chosen",)
    compares = True
    adds_up = False
    sees = True

    def __init__(self, finetuning: FinetuningSection) -> None:
        self.beta, self.learn_chosen = finetuning.pref_beta, finetuning.pref_ftx
        self.liked, self.disliked = finetuning.kto_chosen_weight, finetuning.kto_rejected_weight
        self.reference: Reference | None = None

    def equip(self, model: Any, materials: Materials) -> None:
        """The reference."""
        self.reference = reference_of(model, materials)

    def encode(self, records: Sequence[Feedback], encoder: Any, limits: Limits) -> list[Encoded]:
        """One answer, and another question's answer to the same question, as one example of two segments."""
        return encode_feedback(records, encoder, limits)

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The answers as one flattened row, those for the drift as another (`kl_input_ids` …), and `good` [answers].
        Pictures are decoded once for both rows."""
        lengths = [length for example in examples for length in example.lengths]
        places = (np.cumsum(np.array(lengths) > 0) - 1).tolist()  # a batch has no empty segments
        units, whole = list(judged(lengths)), collate(examples, viewer=self.viewer)
        answers = picked(whole, [places[unit.answer] for unit in units])
        others = picked(whole, [places[unit.other] for unit in units if lengths[unit.other]])
        drift = {DRIFT + name: tensor for name, tensor in others.items()}
        return {**answers, **drift, "good": torch.tensor([unit.good for unit in units])}

    def weight(self, batch: Batch) -> Tensor:
        """The number of answers."""
        return torch.tensor(len(batch["good"]))

    def cut(self, batch: Batch) -> Sequence[Batch]:
        """Between two answers. Both halves measure the drift of the whole micro-batch, and know what it holds."""
        whole = {WHOLE: batch["good"], **batch}
        return cut_rows(whole, by_answer=("good",))

    def loss(self, model: nn.Module, batch: Batch) -> StageLoss:
        """The loss of each answer, summed. The drift is measured without gradient."""
        assert self.reference is not None, "equip was not called"
        with self.reference.of(model) as reference:
            before, drift_before = (answer_rows(reference, batch, prefix).scores() for prefix in ("", DRIFT))
        with torch.no_grad():
            drift = _over_processes(
                drift_of(answer_rows(model, batch, DRIFT).scores().sums, drift_before.sums), training=model.training
            )
        scores, good = answer_rows(model, batch).scores(), batch["good"]
        ratios = scores.sums - before.sums
        losses = kto_losses(ratios, drift, good, beta=self.beta, liked=self.liked, disliked=self.disliked)
        total = anchored(model, losses.sum() + self._chosen_loss(scores, good, batch.get(WHOLE, good)), batch)
        return StageLoss(total, len(losses), self._measured(ratios.detach(), scores, good, drift))

    def _chosen_loss(self, scores: Scores, good: Tensor, whole: Tensor) -> Tensor | float:
        """`pref_ftx`: the mean cross-entropy of liked answers, for every answer, over their share of the micro-batch;
        `whole` says which of its answers were liked."""
        if not self.learn_chosen or not bool(good.any()):
            return 0.0
        answers, liked = len(whole), whole.sum()
        return -self.learn_chosen * (scores.means[good].sum() / liked) * answers * answers / liked

    def _measured(
        self, ratios: Tensor, scores: Scores, good: Tensor, drift: Tensor
    ) -> Mapping[str, tuple[Tensor | float, int]]:
        found: dict[str, tuple[Tensor | float, int]] = {"kl": (drift * len(good), len(good))}
        for name, which in (("chosen", good), ("rejected", ~good)):
            answers, tokens = int(which.sum()), int(scores.counts[which].sum())
            found[f"rewards/{name}"] = (self.beta * ratios[which].sum(), answers)
            found[f"logps/{name}"] = (scores.sums.detach()[which].sum(), answers)
            found[f"logits/{name}"] = (scores.logits[which].sum(), tokens)
        return found

    def summary(self, metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
        """By how much liked answers are rewarded more, where there are answers of both kinds."""
        front = f"{prefix}_" if prefix else ""
        chosen, rejected = (metrics.get(f"{front}rewards/{name}") for name in ("chosen", "rejected"))
        return {} if chosen is None or rejected is None else {f"{front}rewards/margins": chosen - rejected}


def _over_processes(drift: Tensor, *, training: bool) -> Tensor:
    """The mean of what all processes measured. Evaluation is not in step among them: there each has its own."""
    from torch import distributed

    if training and distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(drift)
        drift = drift / distributed.get_world_size()
    return drift
