"""The recipe: what the user writes, read and settled before anything heavy is imported."""

from __future__ import annotations

from hone.recipe.read import read_recipe, settle
from hone.recipe.schema import (
    DataSection,
    EngineSection,
    EvaluationSection,
    ExportSection,
    FinetuningSection,
    GeneratingSection,
    MediaSection,
    MegatronSection,
    ModelSection,
    QuantizationSection,
    Recipe,
    TrainingSection,
)
from hone.recipe.show import as_dict, as_yaml

__all__ = [
    "DataSection",
    "EngineSection",
    "EvaluationSection",
    "ExportSection",
    "FinetuningSection",
    "GeneratingSection",
    "MediaSection",
    "MegatronSection",
    "ModelSection",
    "QuantizationSection",
    "Recipe",
    "TrainingSection",
    "as_dict",
    "as_yaml",
    "read_recipe",
    "settle",
]
