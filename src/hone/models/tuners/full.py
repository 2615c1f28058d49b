"""Full tuning: every weight learns, but for parts that are to stand still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hone.models.parts import stands_still

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection, ModelSection


def prepare(
    model: Any, finetuning: FinetuningSection, model_section: ModelSection, *, training: bool, merge: bool
) -> Any:
    """All parameters learn; a part that sees or hears only where the recipe's freeze_* keys let it."""
    model.requires_grad_(training)
    still = stands_still(model, finetuning)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if training and still(name):
            parameter.requires_grad_(False)
    return model
