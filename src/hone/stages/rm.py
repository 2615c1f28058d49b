"""Reward modelling: a head that gives the better of two answers the higher score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.models.pictures import anchored
from hone.models.value_head import add_value_head, load_value_head, segment_values
from hone.stages.shared.pairs import PairStage, halves
from hone.stages.shared.reference import Materials
from hone.stages.shared.values import saved_beside
from hone.training.losses.reward import reward_losses
from hone.training.stage import Batch, StageLoss

if TYPE_CHECKING:
    from torch import nn

    from hone.recipe import FinetuningSection


class Stage(PairStage):
    """The score of an answer is the value head's at its last token."""

    name = "rm"
    measures = ("accuracy",)
    reads_logits = False

    def __init__(self, finetuning: FinetuningSection) -> None:
        """Nothing of the recipe is asked for."""

    def equip(self, model: Any, materials: Materials) -> None:
        """A value head: that of the model or adapter gone on from, else a new one. A head for tokens, which scores do
        not need, is kept from learning where every weight learns."""
        add_value_head(model, saved_beside(materials))
        head, table = model.get_output_embeddings(), model.get_input_embeddings()
        if materials.finetuning.finetuning_type == "full" and head is not None and head.weight is not table.weight:
            head.requires_grad_(False)

    def loss(self, model: nn.Module, batch: Batch) -> StageLoss:
        """The loss of each pair, summed; when evaluating also how often the better answer has the higher score."""
        chosen, rejected = halves(segment_values(model, batch))
        losses = reward_losses(chosen, rejected)
        right = {} if model.training else {"accuracy": ((chosen > rejected).float().sum(), len(losses))}
        return StageLoss(anchored(model, losses.sum(), batch), len(losses), right)

    def take_up(self, model: Any, folder: Path) -> None:
        """The value head as it was saved."""
        load_value_head(model, folder)
