"""Every key of the recipe: one frozen class for each section, and the table of all keys by name."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hone.recipe.schema.data import DataSection
from hone.recipe.schema.finetuning import FinetuningSection
from hone.recipe.schema.generating import GeneratingSection
from hone.recipe.schema.key import About, Key, Kind, Limits, key, keys_of
from hone.recipe.schema.megatron import MegatronSection
from hone.recipe.schema.model import ModelSection
from hone.recipe.schema.parts import (
    EngineSection,
    EvaluationSection,
    ExportSection,
    MediaSection,
    QuantizationSection,
)
from hone.recipe.schema.training import TrainingSection

__all__ = [
    "SECTIONS",
    "About",
    "DataSection",
    "EngineSection",
    "EvaluationSection",
    "ExportSection",
    "FinetuningSection",
    "GeneratingSection",
    "Key",
    "Kind",
    "Limits",
    "MediaSection",
    "MegatronSection",
    "ModelSection",
    "QuantizationSection",
    "Recipe",
    "TrainingSection",
    "all_keys",
    "key",
    "keys_of",
    "training_arguments",
]

SECTIONS: Mapping[str, type] = {
    "model": ModelSection,
    "data": DataSection,
    "training": TrainingSection,
    "finetuning": FinetuningSection,
    "generating": GeneratingSection,
    "quantization": QuantizationSection,
    "media": MediaSection,
    "engine": EngineSection,
    "export": ExportSection,
    "evaluation": EvaluationSection,
    "megatron": MegatronSection,
}
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """A settled recipe: every blank filled, nothing to be changed.

    `given` names the keys that the user wrote, `verb` is the one the recipe was settled for.
    """

    model: ModelSection = field(default_factory=ModelSection)
    data: DataSection = field(default_factory=DataSection)
    training: TrainingSection = field(default_factory=TrainingSection)
    finetuning: FinetuningSection = field(default_factory=FinetuningSection)
    generating: GeneratingSection = field(default_factory=GeneratingSection)
    quantization: QuantizationSection = field(default_factory=QuantizationSection)
    media: MediaSection = field(default_factory=MediaSection)
    engine: EngineSection = field(default_factory=EngineSection)
    export: ExportSection = field(default_factory=ExportSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    megatron: MegatronSection = field(default_factory=MegatronSection)
    given: frozenset[str] = frozenset()
    verb: str = ""


@cache
def all_keys() -> Mapping[str, Key]:
    """Every key by name, section by section; those of `TrainingArguments` that Hone does not read come last."""
    own = [each for section, cls in SECTIONS.items() for each in keys_of(section, cls)]
    names = {each.name for each in own}
    return {each.name: each for each in (*own, *(each for each in _inherited() if each.name not in names))}


@cache
def training_arguments() -> Mapping[str, Mapping[str, Any]]:
    """The snapshot of `Seq2SeqTrainingArguments`: kinds, default and choices of each field."""
    return json.loads((_FOLDER / "training_arguments.json").read_text(encoding="utf-8"))


def _inherited() -> Iterator[Key]:
    """The keys of `TrainingArguments`, with what our own table says of them."""
    told = tomllib.loads((_FOLDER / "training_arguments.toml").read_text(encoding="utf-8"))
    for name, entry in training_arguments().items():
        words = dict(told.get(name, {}))
        bounds = [words.get(bound) for bound in ("at_least", "above", "at_most", "below")]
        about = About(
            words.get("help", ""),
            choices=tuple(words.get("choices", entry.get("choices", ()))),
            limits=Limits(*bounds) if any(bound is not None for bound in bounds) else None,
            secret=bool(words.get("secret")),
            later=words.get("later", ""),
        )
        yield Key(name, "training", tuple(entry["kinds"]), _default(entry), about, inherited=True)


def _default(entry: Mapping[str, Any]) -> Any:
    """The default in the shape that values have here: a list is a tuple."""
    value = entry["default"]
    if "list" in entry["kinds"] and value is not None:
        return tuple(value) if isinstance(value, list) else tuple(filter(None, (value,)))
    return value
