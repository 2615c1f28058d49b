"""The reference that a policy is compared with: its own weights with the adapters off, or a model of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from hone.errors import ModelError
from hone.log import say

if TYPE_CHECKING:
    from torch import nn

    from hone.dialogue.encoder import Encoder
    from hone.recipe import FinetuningSection, GeneratingSection, ModelSection, QuantizationSection


@dataclass(frozen=True)
class Materials:
    """What a second model is made from, and where to: the recipe's sections, the dtype of weights, the device; and what
    answers are generated with."""

    model: ModelSection
    quantization: QuantizationSection
    finetuning: FinetuningSection
    dtype: torch.dtype
    device: torch.device
    generating: GeneratingSection | None = None
    encoder: Encoder | None = None
    """What a stage that generates writes and reads by."""


class Reference(Protocol):
    """Gives the reference of a policy, frozen and without dropout, for as long as the context lasts."""

    def of(self, policy: nn.Module) -> AbstractContextManager[nn.Module]:
        """The model to ask."""
        ...


class AdaptersOff:
    """The policy's own weights: no memory is needed. Adapters that were merged before training stay in."""

    @contextmanager
    def of(self, policy: Any) -> Iterator[nn.Module]:
        """The policy without the adapter that learns; afterwards it is as it was."""
        from hone.models.label_states import unwrapped

        model = unwrapped(policy)
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), model.disable_adapter():
                yield model
        finally:
            model.train(was_training)


class SecondModel:
    """A model of its own."""

    def __init__(self, model: Any) -> None:
        self.model = model.requires_grad_(False).eval()

    @contextmanager
    def of(self, policy: Any) -> Iterator[nn.Module]:
        """The second model."""
        with torch.no_grad():
            yield self.model


def reference_of(policy: Any, materials: Materials) -> Reference:
    """`ref_model` if the recipe names one; else the adapters off; else a copy of the weights as they are now."""
    from hone.models.attention import use_packed_attention

    if materials.finetuning.ref_model:
        tuning = materials.finetuning
        second = loaded_model(
            materials, str(tuning.ref_model), tuning.ref_model_adapters, tuning.ref_model_quantization_bit
        )
        _refuse_other_eyes(policy, second, str(tuning.ref_model))
        say(f"reference: {materials.finetuning.ref_model}")
    elif hasattr(policy, "disable_adapter"):
        say("reference: the same weights with the adapter off")
        return AdaptersOff()
    else:
        second = copy.deepcopy(policy)
        say("reference: a copy of the model as it is before training")
    use_packed_attention(second)
    _on_the_paths_of(policy, second)
    return SecondModel(second)


def _on_the_paths_of(policy: Any, second: Any) -> None:
    """Blocks that the policy runs by hand are run by hand here, and no others: where both have the same weights they
    answer the same to the last bit, and a margin of rounding is not taken for a preference."""
    from hone.models.speed.quicken import quicken

    learned = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    for name, parameter in second.named_parameters():
        parameter.requires_grad_(name in learned)
    quicken(second)


def _refuse_other_eyes(policy: Any, second: Any, name: str) -> None:
    """A model that sees is compared with one of its own kind, which is shown the same tokens, places and pixels."""
    from hone.models.label_states import causal_model

    mine, other = causal_model(policy).config, causal_model(second).config
    if hasattr(mine, "vision_config") and other.model_type != mine.model_type:
        what = f"a {mine.model_type} model cannot be compared with a {other.model_type} model, which is shown pictures"
        raise ModelError.one("MODEL-REFERENCE", f"{what} otherwise or none", name, f"name a {mine.model_type} model")


def loaded_model(materials: Materials, name: str, adapters: tuple[str, ...], bits: int | None) -> Any:
    """Another model that the recipe names, with its adapters merged (kept apart on quantised weights)."""
    from hone.models.load import load_model
    from hone.models.tuners import attach

    section = replace(materials.model, model_name_or_path=name, adapter_name_or_path=adapters)
    quantization = replace(materials.quantization, quantization_bit=bits)
    model = load_model(section, quantization, dtype=materials.dtype, device=materials.device)
    kind = replace(materials.finetuning, finetuning_type="lora" if adapters else "full", create_new_adapter=False)
    return attach(model, kind, section, training=False, merge=bits is None)
