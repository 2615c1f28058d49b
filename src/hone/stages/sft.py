"""Supervised fine-tuning: learn the answers of conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from hone.data.encode import encode_sft
from hone.data.stage import Encoded, Limits
from hone.dialogue.records import Chat
from hone.models.experts import balanced
from hone.models.heads import loss_of, row_total
from hone.models.label_states import LabelStates, label_states
from hone.models.pictures import anchored
from hone.stages.shared.accuracy import accuracy
from hone.stages.shared.causal import CausalStage, for_model
from hone.stages.shared.reference import Materials, Reference, reference_of
from hone.training.losses.tokens import WEIGHED, RowLoss
from hone.training.stage import Batch, StageLoss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hone.recipe import FinetuningSection


class Stage(CausalStage):
    """Conversations, each one example; its answers are the labels. The loss of a token is its cross-entropy, or that
    weighed, as `use_dft_loss`, `use_asft_loss` or `use_eaft_loss` say."""

    name = "sft"
    record = Chat
    joining: Literal["fit", "stream"] = "fit"
    sees = True

    def __init__(self, finetuning: FinetuningSection) -> None:
        super().__init__(finetuning)
        self.measures = ("accuracy",) if self.compute_accuracy else ()
        asked = {
            "dft": (finetuning.use_dft_loss, 0.0),
            "asft": (finetuning.use_asft_loss, finetuning.asft_alpha),
            "eaft": (finetuning.use_eaft_loss, finetuning.eaft_alpha),
        }
        self.weighing, self.alpha = next(((name, alpha) for name, (on, alpha) in asked.items() if on), ("", 0.0))
        self.compares, self.guessable = self.weighing == "asft", not self.weighing
        self.reference: Reference | None = None

    def equip(self, model: Any, materials: Materials) -> None:
        """The model that ASFT is anchored to."""
        self.reference = reference_of(model, materials) if self.compares else None

    def encode(self, records: Sequence[Chat], encoder: Any, limits: Limits) -> list[Encoded]:
        """One conversation as one example."""
        return encode_sft(records, encoder, limits)

    def loss(self, model: nn.Module, batch: Batch) -> StageLoss:
        """The summed loss; when evaluating with `compute_accuracy` also the token accuracy of each example."""
        row = for_model(batch)
        weighed = self._weighed(model, row)
        states = label_states(model, row)
        total = row_total(states, weighed) if weighed else loss_of(states)
        measured = self.compute_accuracy and not model.training
        sums = {"accuracy": accuracy(states)} if measured else {}
        whole = anchored(model, balanced(model, total, len(states.targets)), batch)
        return StageLoss(whole, len(states.targets), sums)

    def _weighed(self, model: nn.Module, row: Batch) -> RowLoss | None:
        if not self.weighing:
            return None
        if self.reference is None:
            return WEIGHED[self.weighing](self.alpha, None)
        with self.reference.of(model) as reference:
            before = label_states(reference, row)
        return WEIGHED[self.weighing](self.alpha, lambda rows: _logits(before, rows))


@torch.no_grad()
def _logits(states: LabelStates, rows: slice) -> Tensor:
    return states.logits(states.hidden[rows])
