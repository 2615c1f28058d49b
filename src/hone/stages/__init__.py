"""The training algorithms, one file each; the folder is the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hone.errors import RecipeError
from hone.registry import find

if TYPE_CHECKING:
    from hone.recipe import FinetuningSection


def load_stage(finetuning: FinetuningSection) -> Any:
    """The stage that the recipe names, set up with the recipe's settings. Raises RecipeError for one not built."""
    try:
        return find("hone.stages", finetuning.stage).Stage(finetuning)
    except LookupError as reason:
        raise RecipeError.one("CFG-STAGE", str(reason), "stage", "choose another stage") from None
