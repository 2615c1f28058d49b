"""How the model that is built differs from its own config: longer positions, experts' balance, weights at random."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hone.errors import ModelError
from hone.log import warn

if TYPE_CHECKING:
    from hone.recipe import ModelSection

GIVEN_FACTOR = 2.0
"""How far positions are stretched where no training says how far they have to reach."""


@dataclass(frozen=True)
class Shape:
    """The wishes of a recipe. `reach` is the longest sequence in tokens, known when training."""

    rope: str | None = None
    balance: float | None = None
    at_random: bool = False
    reach: int | None = None
    training: bool = False

    @property
    def wishes(self) -> bool:
        """Whether the config is not taken as it is."""
        return self.rope is not None or self.balance is not None or self.at_random

    def apply(self, config: Any) -> None:
        """Change a loaded config in place. Raises ModelError for a wish that this model cannot fulfil."""
        if self.rope is not None:
            stretch(config.get_text_config(), self.rope, reach=self.reach if self.training else None)
        if self.balance is not None:
            weigh_balance(config.get_text_config(), self.balance)


def shape_of(model: ModelSection, *, reach: int | None = None, training: bool = False) -> Shape:
    """What the section wishes; positions only matter to whoever trains or generates."""
    balance = model.moe_aux_loss_coef if training else None
    return Shape(model.rope_scaling, balance, model.train_from_scratch and training, reach, training)


def stretch(text: Any, kind: str, *, reach: int | None) -> None:
    """Rotary positions for longer texts than the model was made for: by the whole factor that `reach` needs, or 2."""
    longest = int(getattr(text, "max_position_embeddings", 0) or 0)
    tables = list(_tables(text))
    if not tables or not longest:
        raise ModelError.one("MODEL-ROPE", "the model has no rotary positions", "rope_scaling", "leave it out")
    taken = next((table["rope_type"] for table in tables if table.get("rope_type", "default") != "default"), None)
    if taken is not None:
        what = f"the model's positions are stretched already ({taken}, up to {longest} tokens)"
        raise ModelError.one("MODEL-ROPE", what, "rope_scaling", "leave it out")
    if reach is not None and reach <= longest:
        warn(f"rope_scaling: the model reaches {longest} tokens, cutoff_len asks for {reach}; nothing is stretched")
        return
    if kind == "dynamic" and reach is not None:
        warn(
            "rope_scaling: dynamic positions change with the length of a text; for training, linear or yarn fit better"
        )
    factor = GIVEN_FACTOR if reach is None else float(math.ceil(reach / longest))
    for table in tables:
        table |= {"rope_type": kind, "factor": factor}
        if kind != "linear":
            table["original_max_position_embeddings"] = longest
        if kind == "llama3":
            table |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    text.max_position_embeddings = int(longest * factor)


def _tables(text: Any) -> Iterator[dict[str, Any]]:
    """The rotary settings of a config: one for all layers, or one for each kind of layer."""
    settings = getattr(text, "rope_parameters", None) or {}
    inner = [value for value in settings.values() if isinstance(value, dict)]
    yield from inner or ([settings] if settings else [])


def weigh_balance(text: Any, weight: float) -> None:
    """Have the router's balance loss made, and weighed."""
    if not hasattr(text, "router_aux_loss_coef"):
        what = f"{text.model_type} has no router whose balance could be learned"
        raise ModelError.one("MODEL-EXPERTS", what, "moe_aux_loss_coef", "leave it out")
    text.router_aux_loss_coef = weight
    text.output_router_logits = weight > 0
